//! Takes secrets out of what leaves in a support bundle. Landfall keeps none in its configuration:
//! keys are files of their own. What people put there all the same, and what other programs log,
//! goes by its name or its form.

use serde_json::Value;
use std::path::Path;

/// What stands in the place of a secret.
const REMOVED: &str = "(removed)";

/// Parts of the names of settings and headers whose values nobody else should see.
const NAMES: [&str; 8] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "credential",
    "authorization",
    "api_key",
];

/// The configuration as JSON, which drops its comments, without values that are secret by name.
pub(super) fn config(path: &Path) -> String {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => return format!("{}: {error}\n", path.display()),
    };
    match toml::from_str::<Value>(&text) {
        Ok(mut value) => {
            clean(&mut value);
            serde_json::to_string_pretty(&value).unwrap_or_default() + "\n"
        }
        // Its message quotes the line, which may hold anything.
        Err(error) => format!("not valid TOML: {}\n", error.message()),
    }
}

fn clean(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                if is_secret(name) {
                    *value = REMOVED.into();
                } else {
                    clean(value);
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(clean),
        Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Null => {}
    }
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('-', "_");
    NAMES.iter().any(|part| name.contains(part))
}

/// Any text: keys in PEM, passwords in addresses, and values behind secret names.
pub(super) fn text(text: &str) -> String {
    let mut inside_key = false;
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let begins = line.contains("-----BEGIN ") && line.contains("PRIVATE KEY");
        if begins && !inside_key {
            out.push_str(REMOVED);
            out.push('\n');
        }
        inside_key |= begins;
        if !inside_key {
            out.push_str(&named(&user_info(line)));
        }
        inside_key &= !line.contains("-----END ");
    }
    out
}

/// `scheme://user:password@host` without the two.
fn user_info(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let end = after.find(|c: char| c.is_whitespace() || "/\"'?#".contains(c));
        let host = &after[..end.unwrap_or(after.len())];
        rest = match host.rfind('@') {
            Some(at) => {
                out.push_str(REMOVED);
                &after[at..]
            }
            None => after,
        };
    }
    out + rest
}

/// `password=...`, `token: ...`: what follows is removed to the end of the word, of a header to
/// the end of the line.
fn named(line: &str) -> String {
    let lower = line.to_ascii_lowercase();
    let found = NAMES.iter().filter_map(|name| {
        let at = lower.find(&name.replace('_', "-")).or_else(|| lower.find(name))?;
        let from = at + name.len();
        let sign = lower[from..].find(['=', ':'])?;
        // Between the name and the sign stand a quotation mark and blanks at most.
        let between = &lower[from..from + sign];
        between.chars().all(|c| " \"'".contains(c)).then_some((from + sign + 1, *name))
    });
    let Some((from, name)) = found.min() else { return line.to_owned() };
    let (before, after) = line.split_at(from);
    if after.trim_start().trim_start_matches('"').starts_with(REMOVED) {
        return line.to_owned();
    }
    let blanks = after.len() - after.trim_start_matches([' ', '"', '\'']).len();
    let value = &after[blanks..];
    let ends: &[char] =
        if name == "authorization" { &['\n'] } else { &[' ', '\n', ',', '"', '\''] };
    let end = value.find(ends).unwrap_or(value.len());
    if end == 0 {
        return line.to_owned();
    }
    format!("{before}{}{REMOVED}{}", &after[..blanks], named(&value[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_come_through() {
        let pem = "a\n-----BEGIN PRIVATE KEY-----\nMIGHAgEA\nabc=\n-----END PRIVATE KEY-----\nb\n";
        assert_eq!(text(pem), format!("a\n{REMOVED}\nb\n"));
        for line in [
            "GET https://ann:hunter2@hub.example.org/x\n",
            "password=hunter2 and more\n",
            "  \"api_key\": \"hunter2\",\n",
            "Authorization: Bearer hunter2\n",
            "token: hunter2, password: hunter2\n",
        ] {
            let clean = text(line);
            assert!(!clean.contains("hunter2") && clean.contains(REMOVED), "{clean}");
        }
        for line in
            ["the token is single use\n", "http://127.0.0.1:8017/v1\n", "a: b\n", "token:\n"]
        {
            assert_eq!(text(line), line);
        }
    }

    #[test]
    fn a_configuration_keeps_its_shape() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.toml");
        let toml = "# password = \"hunter2\"\ndata_dir = \"d\"\n[hub]\nidentity = \"i\"\n\
                    [desk]\nweb-token = \"hunter2\"\n[[x]]\nsecret = [\"hunter2\"]\n";
        std::fs::write(&path, toml).unwrap();
        let clean = config(&path);
        assert!(!clean.contains("hunter2"), "{clean}");
        assert!(clean.contains("\"identity\": \"i\"") && clean.contains("web-token"), "{clean}");
        std::fs::write(&path, "password = hunter2\n").unwrap();
        assert!(!config(&path).contains("hunter2"));
    }
}
