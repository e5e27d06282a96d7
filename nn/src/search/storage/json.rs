//! JSON as Python writes it: with `NaN`, `Infinity` and `-Infinity`, which the standard lacks.
//!
//! Such words travel through the parser and the writer as marked strings, and are put in their place
//! in the text.

use serde_json::Value as Json;

/// Begins a string that stands for a number. Nobody names things with control characters.
const MARK: &str = "\u{1}tilewise:";
const WORDS: [&str; 3] = ["-Infinity", "Infinity", "NaN"];

/// A number, whatever it is.
pub(crate) fn number(value: f64) -> Json {
    let word = match value {
        _ if value.is_nan() => "NaN",
        f64::INFINITY => "Infinity",
        f64::NEG_INFINITY => "-Infinity",
        _ => return Json::from(value),
    };
    Json::from(format!("{MARK}{word}"))
}

/// The number that this is.
pub(crate) fn as_number(json: &Json) -> Option<f64> {
    match json {
        Json::String(text) => match text.strip_prefix(MARK)? {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        other => other.as_f64(),
    }
}

/// The same with the words as ordinary text: for what is only looked at.
pub(crate) fn plain(json: &Json) -> Json {
    match json {
        Json::String(text) => Json::from(text.strip_prefix(MARK).unwrap_or(text)),
        Json::Array(all) => all.iter().map(plain).collect(),
        Json::Object(all) => {
            Json::Object(all.iter().map(|(key, value)| (key.clone(), plain(value))).collect())
        }
        other => other.clone(),
    }
}

/// Writes without spaces, on one line.
pub(crate) fn write(json: &Json) -> String {
    let mut text = json.to_string();
    for word in WORDS {
        let marked = Json::from(format!("{MARK}{word}")).to_string();
        if text.contains(&marked) {
            text = text.replace(&marked, word);
        }
    }
    text
}

/// Reads one value.
pub(crate) fn read(text: &str) -> serde_json::Result<Json> {
    if !WORDS.iter().any(|word| text.contains(word)) {
        return serde_json::from_str(text);
    }
    serde_json::from_str(&quote_words(text))
}

/// Turns the words outside strings into marked strings.
fn quote_words(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 64);
    let (mut rest, mut inside) = (text, false);
    while let Some(first) = rest.chars().next() {
        let word = WORDS.iter().find(|word| !inside && rest.starts_with(**word));
        let taken = match (word, first) {
            (Some(word), _) => {
                quoted.push_str(&Json::from(format!("{MARK}{word}")).to_string());
                word.len()
            }
            // The character behind a backslash never ends a string.
            (None, '\\') if inside => 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
            (None, first) => {
                inside ^= first == '"';
                first.len_utf8()
            }
        };
        if word.is_none() {
            quoted.push_str(&rest[..taken]);
        }
        rest = &rest[taken..];
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a17_words_of_python_are_read_and_written() {
        let text =
            r#"{"a":NaN,"b":[-Infinity,Infinity,1.5],"c":"NaN \"Infinity\\","é":"-Infinity"}"#;
        let json = read(text).unwrap();
        assert!(as_number(&json["a"]).unwrap().is_nan());
        assert_eq!(as_number(&json["b"][0]), Some(f64::NEG_INFINITY));
        assert_eq!(as_number(&json["b"][1]), Some(f64::INFINITY));
        assert_eq!(json["c"], "NaN \"Infinity\\");
        assert_eq!(as_number(&json["c"]), None);
        assert_eq!(write(&json), text);
        for wrong in ["{\"a\":NaNa}", "[Infinit]", "{\"a\":-NaN}", "[\"NaN]"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn numbers_keep_their_bits() {
        let mut random = crate::random::Random::new(3);
        for _ in 0..2000 {
            let value = f64::from_bits(random.bits());
            let again = as_number(&read(&write(&number(value))).unwrap()).unwrap();
            assert!(again.to_bits() == value.to_bits() || (again.is_nan() && value.is_nan()));
        }
    }
}
