//! `application/x-www-form-urlencoded`, as queries and forms have it.

use super::error::Refused;

/// The one parameter that a list of everything or of what counts takes: `name=true`.
pub(super) fn flag(query: Option<&str>, name: &str) -> Result<bool, Refused> {
    let mut given = false;
    for (key, value) in parse(query.unwrap_or_default()) {
        given = match value.as_str() {
            "true" if key == name => true,
            "false" | "" if key == name => false,
            _ => {
                let message = format!("{key}={value} is not valid");
                return Err(Refused::bad_request(message, format!("the parameter is {name}=true")));
            }
        };
    }
    Ok(given)
}

/// Splits and decodes; pairs in order. Bytes that are no UTF-8 become U+FFFD.
pub(super) fn parse(text: &str) -> Vec<(String, String)> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key), decode(value))
        })
        .collect()
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, hex(tail)) {
            (b'+', _) => bytes.push(b' '),
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => bytes.push(*first),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(text: &[u8]) -> Option<u8> {
    let digits = std::str::from_utf8(text.get(..2)?).ok()?;
    digits.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u8::from_str_radix(digits, 16).ok())?
}

/// Encodes a value for a query.
pub(super) fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_survive() {
        for value in ["", "a b", "ä&=+%", "%zz", "100 %", "<\"'>"] {
            let text = format!("k={}&empty&&x=1+2%", encode(value));
            let pairs = parse(&text);
            assert_eq!(pairs[0], ("k".to_owned(), value.to_owned()));
            assert_eq!(pairs[1], ("empty".to_owned(), String::new()));
            assert_eq!(pairs[2], ("x".to_owned(), "1 2%".to_owned()));
        }
    }
}
