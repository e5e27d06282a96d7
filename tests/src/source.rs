//! Rust source as the tidy test sees it: code without comments and literals, words, functions.

use std::fs;
use std::path::Path;

/// One source file.
#[derive(Debug, Clone)]
pub struct Source {
    /// From the workspace's root, with `/`.
    pub path: String,
    /// As it stands in the file.
    pub text: String,
    /// The same with comments, strings and characters blanked out; lines and columns stay.
    pub code: String,
}

/// A function in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// The line of `fn`, from 1.
    pub line: usize,
    /// Lines from `fn` to the closing brace, both included.
    pub lines: usize,
    /// Parameters, `self` not counted.
    pub parameters: usize,
}

impl Source {
    /// A file with the given contents.
    pub fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned(), code: strip(text) }
    }

    /// All `.rs` files below the workspace's packages, sorted by path.
    ///
    /// # Panics
    /// If a directory cannot be read.
    pub fn workspace() -> Vec<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace's root");
        let mut all = Vec::new();
        for package in ["kernels", "nn", "tests", "benches", "fuzz"] {
            collect(root, &root.join(package), &mut all);
        }
        all.sort_by(|a, b| a.path.cmp(&b.path));
        all
    }

    /// The words (identifiers, keywords, numbers) of the code with their lines, from 1.
    pub fn words(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.lines().enumerate().flat_map(|(i, line)| {
            let words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
            words.filter(|word| !word.is_empty()).map(move |word| (i + 1, word))
        })
    }

    /// The lines of the code, from 1, that contain `pattern`.
    pub fn lines_with(&self, pattern: &str) -> Vec<usize> {
        let lines = self.code.lines().enumerate();
        lines.filter(|(_, line)| line.contains(pattern)).map(|(i, _)| i + 1).collect()
    }

    /// All functions that have a body.
    pub fn functions(&self) -> Vec<Function> {
        let code = self.code.as_bytes();
        let starts = self.code.match_indices("fn ").map(|(at, _)| at);
        let starts = starts.filter(|&at| at == 0 || !is_word(code[at - 1]));
        starts.filter_map(|at| function(&self.code, at)).collect()
    }
}

fn collect(root: &Path, dir: &Path, all: &mut Vec<Source>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries {
        let path = entry.expect("a readable directory").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            collect(root, &path, all);
        } else if name.ends_with(".rs") {
            let text = fs::read_to_string(&path).expect("a readable source file");
            let relative = path.strip_prefix(root).expect("below the root");
            all.push(Source::new(&relative.to_string_lossy().replace('\\', "/"), &text));
        }
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii()
}

/// The function whose `fn` stands at `at`; none for a signature without a body or a pointer type.
fn function(code: &str, at: usize) -> Option<Function> {
    let rest = &code[at + 3..];
    let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    let bytes = code.as_bytes();
    let (mut depth, mut end) = (0usize, None);
    let (mut parameters, mut open) = (None, at);
    for (i, &byte) in bytes.iter().enumerate().skip(at + 3) {
        match byte {
            b'(' | b'[' | b'{' => {
                if depth == 0 {
                    open = i;
                }
                depth += 1;
            }
            b')' | b']' | b'}' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 && byte == b')' && parameters.is_none() {
                    parameters = Some(count_parameters(&code[open + 1..i]));
                }
                if depth == 0 && byte == b'}' {
                    end = Some(i);
                    break;
                }
            }
            b';' if depth == 0 => return None,
            _ => {}
        }
    }
    let line = code[..at].matches('\n').count() + 1;
    let lines = code[at..=end?].matches('\n').count() + 1;
    (!name.is_empty()).then_some(Function { name, line, lines, parameters: parameters? })
}

fn count_parameters(list: &str) -> usize {
    let (mut depth, mut parts) = (0isize, vec![String::new()]);
    let mut previous = ' ';
    for c in list.chars() {
        match c {
            '(' | '[' | '{' | '<' => depth += 1,
            // The arrow of a function type closes nothing.
            '>' if previous == '-' => {}
            ')' | ']' | '}' | '>' => depth -= 1,
            _ => {}
        }
        if c == ',' && depth == 0 {
            parts.push(String::new());
        } else {
            parts.last_mut().expect("at least one part").push(c);
        }
        previous = c;
    }
    let names = parts.iter().map(|part| part.split(':').next().unwrap_or("").trim());
    names.filter(|name| !name.is_empty() && !is_receiver(name)).count()
}

fn is_receiver(name: &str) -> bool {
    name.split_whitespace().next_back().is_some_and(|word| word.trim_start_matches('&') == "self")
}

/// Blanks comments and the contents of literals, keeping every line break.
fn strip(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let end = at + skipped(bytes, at);
        if end == at {
            let c = text[at..].chars().next().expect("inside the text");
            out.push(c);
            at += c.len_utf8();
            continue;
        }
        out.extend(text[at..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        at = end;
    }
    out
}

/// The length of the comment or literal that starts at `at`; 0 where none does.
fn skipped(text: &[u8], at: usize) -> usize {
    let rest = &text[at..];
    let word_before = at > 0 && is_word(text[at - 1]);
    match rest {
        [b'/', b'/', ..] => rest.iter().position(|&b| b == b'\n').unwrap_or(rest.len()),
        [b'/', b'*', ..] => block_comment(rest),
        [b'"', ..] => quoted(rest, b'"'),
        [b'b', b'"', ..] if !word_before => 1 + quoted(&rest[1..], b'"'),
        [b'r', b'"' | b'#', ..] if !word_before => raw_string(rest, 1),
        [b'b', b'r', b'"' | b'#', ..] if !word_before => raw_string(rest, 2),
        // A character has a quote right behind it; a lifetime has not.
        [b'\'', b'\\', ..] => quoted(rest, b'\''),
        [b'\'', first, ..] => {
            let width = std::str::from_utf8(&rest[1..rest.len().min(5)]).map_or_else(
                |e| e.valid_up_to().max(1),
                |s| s.chars().next().map_or(1, char::len_utf8),
            );
            let width = if first.is_ascii() { 1 } else { width };
            if rest.get(1 + width) == Some(&b'\'') { width + 2 } else { 0 }
        }
        _ => 0,
    }
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// A raw string after `prefix` letters; 0 for a raw identifier.
fn raw_string(rest: &[u8], prefix: usize) -> usize {
    let hashes = rest[prefix..].iter().take_while(|&&b| b == b'#').count();
    if rest.get(prefix + hashes) != Some(&b'"') {
        return 0;
    }
    let close = [vec![b'"'], vec![b'#'; hashes]].concat();
    let body = prefix + hashes + 1;
    let found = rest[body..].windows(close.len()).position(|window| window == close);
    found.map_or(rest.len(), |at| body + at + close.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_vanish_and_lines_stay() {
        let text = "a // unsafe\n/* unsafe /* x */\n */ b \"unsafe \\\" fn\" c r#\"un\"safe\"# 'u' '\\'' d";
        let code = strip(text);
        assert_eq!(code.lines().count(), 3);
        assert_eq!(code.split_whitespace().collect::<String>(), "abcd");
    }

    #[test]
    fn lifetimes_are_not_characters() {
        assert_eq!(
            strip("fn f<'a>(x: &'a str, c: char) {}").trim(),
            "fn f<'a>(x: &'a str, c: char) {}"
        );
        assert_eq!(strip("x('é', '\"', b'x')").replace(' ', ""), "x(,,b)");
    }

    #[test]
    fn functions_are_measured() {
        let text = "impl X {\n    fn one(&mut self, a: [usize; 2], f: impl Fn(u8, u8) -> u8) -> u8 {\n        0\n    }\n    fn none(self);\n}\ntype F = fn(u8) -> u8;\nfn two() {}\n";
        let found = Source::new("x.rs", text).functions();
        let summary: Vec<_> =
            found.iter().map(|f| (f.name.as_str(), f.line, f.lines, f.parameters)).collect();
        assert_eq!(summary, [("one", 2, 3, 2), ("two", 8, 1, 0)]);
    }

    #[test]
    fn words_do_not_match_inside_words() {
        let source = Source::new("x.rs", "unsafe_code unsafe");
        assert_eq!(source.words().filter(|(_, word)| *word == "unsafe").count(), 1);
    }
}
