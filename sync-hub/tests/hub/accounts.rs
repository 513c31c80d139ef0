//! Accounts: who is known, what they may, and what a stranger gets.

use crate::process::Hub;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;

const PASSWORD: &str = "correct horse battery";

/// A hub with an admin.
fn hub() -> Hub {
    let mut hub = Hub::new();
    hub.enroll("ship-7");
    hub.add_user("ann", "admin", PASSWORD);
    hub.start();
    hub
}

/// One request by hand; the whole response.
fn ask(hub: &Hub, method: &str, path: &str, headers: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(hub.web()).unwrap();
    let web = hub.web();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {web}\r\n{headers}Connection: close\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    response
}

fn form(hub: &Hub, path: &str, cookie: &str, body: &str) -> String {
    let headers = format!(
        "Origin: http://{}\r\nContent-Type: application/x-www-form-urlencoded\r\nCookie: {cookie}\r\n",
        hub.web()
    );
    ask(hub, "POST", path, &headers, body)
}

fn sign_in(hub: &Hub, name: &str, password: &str) -> Result<String, String> {
    let body = format!("name={name}&password={}", password.replace(' ', "+"));
    let response = form(hub, "/login", "", &body);
    let cookie = response.lines().find_map(|line| line.strip_prefix("set-cookie: "));
    let cookie = cookie.map(|cookie| {
        for part in ["HttpOnly", "SameSite=Lax", "Path=/"] {
            assert!(cookie.contains(part), "{cookie}");
        }
        cookie.split(';').next().unwrap().to_owned()
    });
    cookie.ok_or(response)
}

/// The token of a page's forms.
fn csrf(page: &str) -> &str {
    let at = page.find("name=\"csrf\" value=\"").expect("a form with a token") + 19;
    &page[at..at + 64]
}

fn get(hub: &Hub, path: &str, cookie: &str) -> String {
    ask(hub, "GET", path, &format!("Cookie: {cookie}\r\n"), "")
}

fn status(response: &str) -> &str {
    &response[9..12]
}

#[test]
fn without_accounts_the_page_is_open_here_and_closed_elsewhere() {
    let mut hub = Hub::new();
    hub.start();
    assert_eq!(hub.get("/desk").0, 200);
    hub.stop();
    let (code, error) = hub.run_err(&["run", "--listen", "127.0.0.1:0", "--web", "0.0.0.0:0"]);
    assert!(code == 2 && error.contains("user add"), "{error}");
    let (_, error) =
        hub.run_err(&["user", "add", "bob", "--role", "viewer", "--password-file", "/nowhere"]);
    assert!(error.contains("/nowhere"), "{error}");
    let file = hub.path("password");
    std::fs::write(&file, format!("{PASSWORD}\n")).unwrap();
    let add = ["user", "add", "bob", "--role", "viewer", "--password-file", file.to_str().unwrap()];
    let (_, error) = hub.run_err(&add);
    assert!(error.contains("must be an admin"), "{error}");
}

#[test]
fn a_stranger_gets_the_way_in_and_nothing_else() {
    let hub = hub();
    let response = get(&hub, "/desk?task=a", "");
    assert_eq!(status(&response), "303", "{response}");
    assert!(response.contains("location: /login?next=%2Fdesk%3Ftask%3Da"), "{response}");
    for path in ["/api/v1/stats", "/api/v1/export/outcomes", "/metrics"] {
        let response = get(&hub, path, "");
        assert!(
            status(&response) == "401" && response.contains("www-authenticate: Bearer"),
            "{response}"
        );
    }
    for path in ["/healthz", "/readyz", "/login", "/style.css", "/hub.js", "/api/v1/openapi.json"] {
        assert_eq!(status(&get(&hub, path, "")), "200", "{path}");
    }
    assert!(!get(&hub, "/login", "").contains("/outcomes"), "no navigation");
    let response = form(&hub, "/desk/next", "", "by=mallory");
    assert_eq!(status(&response), "401", "{response}");
    let forged = get(&hub, "/desk", "landfall-session=0000");
    assert_eq!(status(&forged), "303", "{forged}");
}

#[test]
fn who_signs_in_may_what_the_role_says() {
    let hub = hub();
    hub.add_user("vic", "viewer", "a viewer's password");
    assert!(sign_in(&hub, "ann", "wrong password").is_err());
    let ann = sign_in(&hub, "Ann", PASSWORD).unwrap();
    let page = get(&hub, "/", &ann);
    assert!(page.contains("/accounts") && page.contains(">ann</a>"), "{page}");
    let page = get(&hub, "/accounts", &ann);
    let token = csrf(&page).to_owned();
    let add = "change=add&name=olga&role=operator&password=an+operator+word";
    let response = form(&hub, "/accounts", &ann, add);
    assert!(
        status(&response) == "403" && response.contains("not made for this session"),
        "{response}"
    );
    let response = form(&hub, "/accounts", &ann, &format!("csrf={token}&{add}"));
    assert_eq!(status(&response), "303", "{response}");
    let vic = sign_in(&hub, "vic", "a viewer's password".replace('\'', "%27").as_str()).unwrap();
    assert_eq!(status(&get(&hub, "/desk", &vic)), "200");
    for (method, path) in [("GET", "/accounts"), ("GET", "/trail"), ("GET", "/api/v1/accounts")] {
        let response = ask(&hub, method, path, &format!("Cookie: {vic}\r\n"), "");
        assert_eq!(status(&response), "403", "{path}: {response}");
    }
    let own = csrf(&get(&hub, "/account", &vic)).to_owned();
    let response = form(&hub, "/desk/next", &vic, &format!("csrf={own}"));
    assert!(status(&response) == "403" && response.contains("a viewer may not"), "{response}");
    // Another's token is worth nothing.
    let response = form(&hub, "/logout", &ann, &format!("csrf={own}"));
    assert_eq!(status(&response), "403", "{response}");
    let response = form(&hub, "/logout", &ann, &format!("csrf={token}"));
    assert_eq!(status(&response), "303", "{response}");
    assert_eq!(status(&get(&hub, "/", &ann)), "303", "the session has ended");
    let trail = hub.run_ok(&["trail"]);
    for what in ["account added", "signed in", "olga"] {
        assert!(trail.contains(what), "{trail}");
    }
    let (_, error) = hub.run_err(&["user", "remove", "ann"]);
    assert!(error.contains("last admin"), "{error}");
    hub.run_ok(&["user", "remove", "vic"]);
    assert_eq!(status(&get(&hub, "/desk", &vic)), "303", "gone at once");
}

#[test]
fn guessing_is_slowed_down() {
    let hub = hub();
    let mut last = String::new();
    for _ in 0..12 {
        last = sign_in(&hub, "ann", "not this one either").unwrap_err();
        if status(&last) == "429" {
            break;
        }
    }
    assert!(status(&last) == "429" && last.contains("retry-after:"), "{last}");
    let refused = sign_in(&hub, "ann", PASSWORD).unwrap_err();
    assert_eq!(status(&refused), "429", "also with the right one");
}

#[test]
fn a_program_has_a_token() {
    let hub = hub();
    let token = hub.run_ok(&["user", "token", "ann", "--label", "prometheus", "--days", "30"]);
    let bearer = format!("Authorization: Bearer {}\r\n", token.trim());
    for path in ["/metrics", "/api/v1/stats", "/api/v1/trail"] {
        assert_eq!(status(&ask(&hub, "GET", path, &bearer, "")), "200", "{path}");
    }
    let list: Value = serde_json::from_str(&hub.run_ok(&["user", "list", "--json"])).unwrap();
    let id = list["accounts"][0]["tokens"][0]["id"].to_string();
    assert!(!list.to_string().contains(token.trim()), "shown once");
    hub.run_ok(&["user", "revoke-token", &id]);
    assert_eq!(status(&ask(&hub, "GET", "/metrics", &bearer, "")), "401");
}

#[test]
fn elsewhere_the_page_is_served_over_tls() {
    let mut hub = Hub::new();
    hub.enroll("ship-7");
    hub.add_user("ann", "admin", PASSWORD);
    hub.start_more(&["--web".to_owned(), "0.0.0.0:0".to_owned()]);
    let port = hub.web().port();
    let ca = std::fs::read(hub.data().join("ca.pem")).unwrap();
    let (status, body) = crate::process::get_tls(&ca, &format!("https://127.0.0.1:{port}/login"));
    assert!(status == 200 && body.contains("Sign in"), "{body}");
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut plain = Vec::new();
    let _ = stream.read_to_end(&mut plain);
    assert!(!plain.starts_with(b"HTTP/1.1 2"), "no plain HTTP");
}
