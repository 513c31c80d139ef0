//! `?1` as PostgreSQL writes it.

/// Rewrites the parameters of a statement: `?1` to `$1`, and a bare `?` to the next number.
pub(super) fn numbered(sql: &str) -> String {
    let mut out = String::with_capacity(sql.len() + 8);
    let mut chars = sql.chars().peekable();
    let (mut quote, mut last) = (None, 0);
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), _) => {
                out.push(c);
                if c == open {
                    quote = None;
                }
            }
            (None, '\'' | '"') => {
                out.push(c);
                quote = Some(c);
            }
            (None, '?') => {
                let mut number = 0;
                while let Some(digit) = chars.peek().and_then(|next| next.to_digit(10)) {
                    number = number * 10 + digit;
                    chars.next();
                }
                last = if number == 0 { last + 1 } else { number };
                out.push('$');
                out.push_str(&last.to_string());
            }
            (None, _) => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::numbered;

    #[test]
    fn parameters_are_rewritten_and_text_is_not() {
        for (from, to) in [
            ("a = ?1 AND b = ?12", "a = $1 AND b = $12"),
            ("VALUES (?, ?, ?)", "VALUES ($1, $2, $3)"),
            ("a = '?1' AND \"b?\" = ?2", "a = '?1' AND \"b?\" = $2"),
            ("a = 'it''s ?' AND b = ?", "a = 'it''s ?' AND b = $1"),
        ] {
            assert_eq!(numbered(from), to);
        }
    }
}
