//! Messages written from text: `{name}` is replaced, a line that becomes empty goes.

/// Replaces every `{name}` in `template` by its value and ends each line with CRLF. A line made of
/// placeholders alone whose values are all empty is left out, so that optional headers are simple.
/// A placeholder without a value stays as it is, where a reader of the capture will see it.
#[must_use]
pub fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for line in template.lines() {
        let filled = fill_line(line, values);
        if filled.is_empty() && !line.is_empty() {
            continue;
        }
        text.push_str(filled.trim_end_matches("\r\n"));
        text.push_str("\r\n");
    }
    text
}

/// A whole message: the filled head (with `{length}` for Content-Length), the empty line, the body.
#[must_use]
pub fn message(template: &str, values: &[(&str, &str)], body: &str) -> Vec<u8> {
    let length = body.len().to_string();
    let mut all = values.to_vec();
    all.push(("length", &length));
    let mut text = fill(template, &all);
    text.push_str("\r\n");
    text.push_str(body);
    text.into_bytes()
}

fn fill_line(line: &str, values: &[(&str, &str)]) -> String {
    let mut filled = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('{') {
        filled.push_str(before);
        let found = after.split_once('}').and_then(|(name, tail)| {
            let value = values.iter().find(|(key, _)| *key == name)?.1;
            Some((value, tail))
        });
        match found {
            Some((value, tail)) => {
                filled.push_str(value);
                rest = tail;
            }
            None => {
                filled.push('{');
                rest = after;
            }
        }
    }
    filled.push_str(rest);
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_put_in_and_empty_optional_lines_go() {
        let text = fill("A {x} B\n{maybe}\n{more}\nC", &[("x", "1"), ("maybe", ""), ("more", "m")]);
        assert_eq!(text, "A 1 B\r\nm\r\nC\r\n");
    }

    #[test]
    fn a_value_may_be_several_lines_and_an_unknown_name_stays() {
        let text = fill("{vias}\n{who}", &[("vias", "VIA: a\r\nVIA: b\r\n")]);
        assert_eq!(text, "VIA: a\r\nVIA: b\r\n{who}\r\n");
    }

    #[test]
    fn the_length_is_that_of_the_body() {
        let bytes = message("X SIP/2.0\nL: {length}", &[], "four");
        assert_eq!(bytes, b"X SIP/2.0\r\nL: 4\r\n\r\nfour");
    }
}
