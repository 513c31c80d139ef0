//! HTML without a template engine: everything that is not ours goes through [`Esc`].

use super::session::{self, Actor};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use landfall_hub_core::account::Role;
use std::fmt;

/// Text for HTML, in elements and in quoted attributes.
pub(super) struct Esc<T>(pub(super) T);

impl<T: fmt::Display> fmt::Display for Esc<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        struct Writer<'a, 'b>(&'a mut fmt::Formatter<'b>);
        impl Write for Writer<'_, '_> {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                text.chars().try_for_each(|c| match c {
                    '&' => self.0.write_str("&amp;"),
                    '<' => self.0.write_str("&lt;"),
                    '>' => self.0.write_str("&gt;"),
                    '"' => self.0.write_str("&quot;"),
                    '\'' => self.0.write_str("&#39;"),
                    // Control characters have no place in HTML and would hide text.
                    c if c.is_control() && !matches!(c, '\n' | '\t') => {
                        self.0.write_char('\u{fffd}')
                    }
                    c => self.0.write_char(c),
                })
            }
        }
        write!(Writer(f), "{}", self.0)
    }
}

/// A page of the hub.
pub(super) struct HtmlPage {
    pub(super) status: StatusCode,
    pub(super) title: String,
    /// Which entry of the navigation this is under.
    pub(super) section: &'static str,
    /// Finished HTML.
    pub(super) body: String,
}

impl HtmlPage {
    pub(super) fn new(section: &'static str, title: impl Into<String>, body: String) -> HtmlPage {
        HtmlPage { status: StatusCode::OK, title: title.into(), section, body }
    }
}

/// The navigation.
const SECTIONS: [(&str, &str); 8] = [
    ("/", "Fleet"),
    ("/alarms", "Alarms"),
    ("/desk", "Desk"),
    ("/outcomes", "Outcomes"),
    ("/escalations", "Escalations"),
    ("/quality", "Quality"),
    ("/rules", "Rules"),
    ("/rollouts", "Rollouts"),
];

/// The end of the navigation: who one is.
fn account_links(section: &str) -> String {
    let mut html = String::new();
    let actor = session::actor();
    if actor.role() == Some(Role::Admin) && actor.name().is_some() {
        let current = if section == "/accounts" { " aria-current=\"page\"" } else { "" };
        html.push_str(&format!("<a href=\"/accounts\"{current}>Accounts</a>"));
    }
    if let Actor::Person { who, .. } = &actor {
        html.push_str(&format!("<a class=\"own\" href=\"/account\">{}</a>", Esc(&who.name)));
    }
    html
}

impl IntoResponse for HtmlPage {
    fn into_response(self) -> Response {
        let HtmlPage { status, title, section, body } = self;
        // Who is not known sees the way in only.
        let known = session::actor().role().is_some();
        let links: String = SECTIONS
            .iter()
            .filter(|_| known)
            .map(|(path, name)| {
                let current = if *path == section { " aria-current=\"page\"" } else { "" };
                format!("<a href=\"{path}\"{current}>{name}</a>")
            })
            .collect();
        let page = format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <title>{title} · Landfall hub</title><link rel=\"stylesheet\" href=\"/style.css\">\
             <link rel=\"icon\" href=\"data:,\">\
             <script src=\"/hub.js\" defer></script></head><body>\
             <a class=\"skip\" href=\"#main\">Skip to content</a>\
             <nav aria-label=\"Main\"><strong>Landfall hub</strong>{links}{account}</nav>\
             <main id=\"main\"><h1>{title}</h1>{body}</main></body></html>\n",
            title = Esc(title),
            account = account_links(section),
        );
        (status, [(CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_gets_out_of_its_place() {
        let hostile = "<script>alert('x')</script>\" onload=\"y\u{0}&amp;";
        let escaped = Esc(hostile).to_string();
        assert!(!escaped.contains(['<', '>', '"', '\'', '\0']), "{escaped}");
        assert_eq!(Esc("a & b\nc").to_string(), "a &amp; b\nc");
    }
}
