//! A stand-in for what the desk asks over HTTP: it speaks the real protocol, well or badly, as
//! the test says, and keeps what it was sent.

use serde_json::{Value, json};
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// What came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// Method and path.
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// What goes back.
#[derive(Debug)]
pub(crate) enum Reply {
    Status(u16, String),
    /// Nothing, as long as the test holds the other end.
    Silence(Receiver<()>),
    /// The connection is closed in the middle of the reply.
    Cut,
}

impl Reply {
    /// A chat completion with this content.
    pub(crate) fn says(content: &str) -> Reply {
        Reply::Status(
            200,
            json!({
                "id": "1", "object": "chat.completion", "model": "double",
                "choices": [{ "index": 0, "finish_reason": "stop",
                              "message": { "role": "assistant", "content": content } }],
                "usage": { "prompt_tokens": 200, "completion_tokens": 20, "total_tokens": 220 },
            })
            .to_string(),
        )
    }

    /// A sure answer with a label.
    pub(crate) fn label(label: &str) -> Reply {
        Reply::says(&json!({ "why": "as I see it", "label": label, "sure": true }).to_string())
    }
}

/// The server; what is not in its script is an error 500.
pub(crate) struct Double {
    pub(crate) address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    script: Arc<Mutex<VecDeque<Reply>>>,
    thread: Option<JoinHandle<()>>,
}

impl Double {
    pub(crate) fn new(script: Vec<Reply>) -> Double {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests: Arc<Mutex<Vec<Request>>> = Arc::default();
        let script = Arc::new(Mutex::new(VecDeque::from(script)));
        let shared = (Arc::clone(&requests), Arc::clone(&script));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let (requests, script) = (Arc::clone(&shared.0), Arc::clone(&shared.1));
                // The first bytes of its end.
                let mut peek = [0; 4];
                if stream.peek(&mut peek).is_ok_and(|n| n == 4) && &peek == b"STOP" {
                    return;
                }
                std::thread::spawn(move || answer(stream, &requests, &script));
            }
        });
        Double { address, requests, script, thread: Some(thread) }
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// What is to be said next.
    pub(crate) fn then(&self, reply: Reply) {
        self.script.lock().unwrap().push_back(reply);
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        if let Ok(mut stream) = TcpStream::connect(self.address) {
            let _ = stream.write_all(b"STOP");
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer(mut stream: TcpStream, requests: &Mutex<Vec<Request>>, script: &Mutex<VecDeque<Reply>>) {
    let Some(request) = read(&stream) else { return };
    requests.lock().unwrap().push(request);
    let reply = script.lock().unwrap().pop_front();
    let (status, body) = match reply {
        None => (500, "not in the script".to_owned()),
        Some(Reply::Status(status, body)) => (status, body),
        Some(Reply::Silence(held)) => {
            let _ = held.recv();
            return;
        }
        Some(Reply::Cut) => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"choi");
            return;
        }
    };
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((key, value)) = header.trim().split_once(':') else { break };
        headers.push((key.to_owned(), value.trim().to_owned()));
    }
    let request = Request { line: line.trim().to_owned(), headers, body: String::new() };
    let length: usize = request.header("content-length")?.parse().ok()?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request { body: String::from_utf8(body).ok()?, ..request })
}

/// A reply that never comes, until the sender is dropped.
pub(crate) fn silence() -> (std::sync::mpsc::Sender<()>, Reply) {
    let (sender, receiver) = channel();
    (sender, Reply::Silence(receiver))
}
