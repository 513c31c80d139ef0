//! A browser, driven over the WebDriver protocol (W3C): JSON over HTTP to `chromedriver`.

use crate::process::wait_with;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A page, a screenshot or the start of the browser on a loaded machine.
const REPLY_MAX: Duration = Duration::from_secs(60);

/// How WebDriver names an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser with one window.
pub(crate) struct Browser {
    driver: Child,
    session: String,
    agent: ureq::Agent,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts one; `None`, and said so, where there is none.
    pub(crate) fn start() -> Option<Browser> {
        let spawned = Command::new("chromedriver")
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut driver = match spawned {
            Ok(driver) => driver,
            Err(error) => {
                eprintln!("without a browser: chromedriver: {error}");
                return None;
            }
        };
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = lines.find_map(|line| {
            let line = line.ok()?;
            let (_, port) = line.split_once("successfully on port ")?;
            port.trim_end_matches('.').parse::<u16>().ok()
        });
        let port = port.expect("the driver says its port");
        // It goes on writing; nobody may stop reading.
        std::thread::spawn(move || lines.for_each(drop));
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(REPLY_MAX))
            .build();
        let agent = ureq::Agent::new_with_config(config);
        let profile = tempfile::tempdir().unwrap();
        let args = [
            "--headless=new".to_owned(),
            // As root in a container; what it opens is ours.
            "--no-sandbox".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--disable-gpu".to_owned(),
            "--window-size=1180,820".to_owned(),
            format!("--user-data-dir={}", profile.path().display()),
        ];
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "args": args },
            "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let url = format!("http://127.0.0.1:{port}/session");
        let made = call(&agent, "POST", &url, Some(&wanted)).unwrap_or_else(|error| {
            let _ = driver.kill();
            panic!("the browser does not start: {error}")
        });
        let session = format!("{url}/{}", made["sessionId"].as_str().unwrap());
        Some(Browser { driver, session, agent, _profile: profile })
    }

    fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, String> {
        call(&self.agent, method, &format!("{}{path}", self.session), body)
    }

    pub(crate) fn open(&self, url: &str) {
        self.ask("POST", "/url", Some(&json!({ "url": url }))).unwrap();
    }

    fn find(&self, css: &str) -> Result<String, String> {
        let by = json!({ "using": "css selector", "value": css });
        let found = self.ask("POST", "/element", Some(&by))?;
        found[ELEMENT].as_str().map(str::to_owned).ok_or_else(|| found.to_string())
    }

    pub(crate) fn click(&self, css: &str) {
        let element = self.find(css).unwrap();
        self.ask("POST", &format!("/element/{element}/click"), Some(&json!({}))).unwrap();
    }

    pub(crate) fn type_into(&self, css: &str, text: &str) {
        let element = self.find(css).unwrap();
        self.ask("POST", &format!("/element/{element}/clear"), Some(&json!({}))).unwrap();
        let value = json!({ "text": text });
        self.ask("POST", &format!("/element/{element}/value"), Some(&value)).unwrap();
    }

    /// Presses and releases keys, whatever has the focus.
    pub(crate) fn keys(&self, keys: &str) {
        let actions: Vec<Value> = keys
            .chars()
            .flat_map(|key| ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key })))
            .collect();
        let body = json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": actions }] });
        self.ask("POST", "/actions", Some(&body)).unwrap();
    }

    /// The text of an element as it is seen.
    pub(crate) fn text(&self, css: &str) -> String {
        let text = self.find(css).and_then(|element| {
            let text = self.ask("GET", &format!("/element/{element}/text"), None)?;
            Ok(text.as_str().unwrap_or_default().to_owned())
        });
        text.unwrap_or_else(|error| format!("({error})"))
    }

    pub(crate) fn count(&self, css: &str) -> usize {
        let by = json!({ "using": "css selector", "value": css });
        let found = self.ask("POST", "/elements", Some(&by)).unwrap();
        found.as_array().map_or(0, Vec::len)
    }

    pub(crate) fn wait_text(&self, part: &str) {
        wait_with(&format!("'{part}' on the page"), || {
            let text = self.text("body");
            if text.contains(part) { Ok(()) } else { Err(text) }
        });
    }

    pub(crate) fn wait_title(&self, part: &str) {
        wait_with(&format!("a page with the title '{part}'"), || {
            let title = self.ask("GET", "/title", None)?;
            if title.as_str().is_some_and(|title| title.contains(part)) {
                return Ok(());
            }
            Err(format!("{title}: {}", self.text("body")))
        });
    }

    /// What the browser complained about: scripts, policies, missing files.
    pub(crate) fn problems(&self) -> Vec<String> {
        let log = self.ask("POST", "/se/log", Some(&json!({ "type": "browser" }))).unwrap();
        let entries = log.as_array().into_iter().flatten();
        let bad = entries.filter(|entry| entry["level"] == "SEVERE");
        // A wrong password is answered by 401, which the browser calls an error.
        let message = bad.map(|entry| entry["message"].as_str().unwrap_or_default().to_owned());
        message.filter(|message| !message.contains("401")).collect()
    }

    /// A picture of the window, as PNG.
    pub(crate) fn screenshot(&self) -> Vec<u8> {
        let text = self.ask("GET", "/screenshot", None).unwrap();
        base64(text.as_str().unwrap())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Ends the browser, too.
        let _ = self.ask("DELETE", "", None);
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

fn call(
    agent: &ureq::Agent,
    method: &str,
    url: &str,
    body: Option<&Value>,
) -> Result<Value, String> {
    let text = |error: ureq::Error| error.to_string();
    let response = match (method, body) {
        ("POST", Some(body)) => {
            agent.post(url).content_type("application/json").send(body.to_string()).map_err(text)?
        }
        ("DELETE", _) => agent.delete(url).call().map_err(text)?,
        _ => agent.get(url).call().map_err(text)?,
    };
    let status = response.status();
    // A screenshot is larger than what is read by default.
    let body = response.into_body().into_with_config().limit(64 << 20).read_to_string();
    let value: Value = serde_json::from_str(&body.map_err(text)?).map_err(|e| e.to_string())?;
    if status.is_success() { Ok(value["value"].clone()) } else { Err(value.to_string()) }
}

/// Decodes base64 of the usual alphabet.
fn base64(text: &str) -> Vec<u8> {
    let digit = |c: u8| match c {
        b'A'..=b'Z' => Some(c - b'A'),
        b'a'..=b'z' => Some(c - b'a' + 26),
        b'0'..=b'9' => Some(c - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for value in text.bytes().filter_map(digit) {
        bits = (bits << 6) | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count).to_le_bytes()[0]);
        }
    }
    bytes
}
