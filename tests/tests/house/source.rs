//! The shape of source files: length, function length, module files, opening words.

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use super::repo::{self, TextFile};

/// Lines of a file; beyond it the file is two capabilities.
const FILE_LINES: usize = 500;
/// Lines from `fn` to the closing brace; beyond it the function does not fit on a screen.
const FUNCTION_LINES: usize = 70;

/// One function, test or not.
#[derive(Debug, PartialEq)]
pub(crate) struct Function {
    pub(crate) name: String,
    /// The line of `fn`, from 1.
    pub(crate) line: usize,
    pub(crate) lines: usize,
    /// Whether an attribute such as `#[test]` or `#[tokio::test]` stands before it.
    pub(crate) is_test: bool,
}

/// Every function with a body, nested ones and those inside macro calls included.
pub(crate) fn functions(file: &TextFile) -> Vec<Function> {
    // A shebang or anything else that is not Rust is a broken file, and the compiler will say so
    // better.
    let tokens: TokenStream = file
        .text
        .parse()
        .unwrap_or_else(|e| panic!("{}: {e}", file.path));
    let mut found = Vec::new();
    collect(tokens, &mut found);
    found
}

fn collect(tokens: TokenStream, found: &mut Vec<Function>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut is_test = false;
    let mut open: Option<Function> = None;
    for (i, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Ident(ident) if ident == "fn" => {
                // `fn` before anything but a name is a type.
                if let Some(TokenTree::Ident(name)) = tokens.get(i + 1) {
                    let (name, line) = (name.to_string(), ident.span().start().line);
                    open = Some(Function {
                        name,
                        line,
                        lines: 0,
                        is_test,
                    });
                }
                is_test = false;
            }
            TokenTree::Punct(p) if p.as_char() == ';' => {
                open = None;
                is_test = false;
            }
            TokenTree::Group(group) => {
                let after_hash =
                    i > 0 && matches!(&tokens[i - 1], TokenTree::Punct(p) if p.as_char() == '#');
                if after_hash && group.delimiter() == Delimiter::Bracket {
                    is_test |= names_test(group.stream());
                }
                if group.delimiter() == Delimiter::Brace
                    && let Some(mut function) = open.take()
                {
                    function.lines = group.span_close().end().line + 1 - function.line;
                    found.push(function);
                }
                collect(group.stream(), found);
            }
            _ => {}
        }
    }
}

/// `test`, `tokio::test`, `tokio::test(flavor = …)`: the path's last part is `test`.
fn names_test(attribute: TokenStream) -> bool {
    let path = attribute
        .into_iter()
        .take_while(|t| !matches!(t, TokenTree::Group(_)));
    let last = path
        .filter_map(|t| {
            if let TokenTree::Ident(i) = t {
                Some(i)
            } else {
                None
            }
        })
        .last();
    last.is_some_and(|i| i == "test")
}

fn too_long(file: &TextFile) -> Vec<String> {
    let mut findings = Vec::new();
    let lines = file.text.lines().count();
    if lines > FILE_LINES {
        findings.push(format!(
            "{} has {lines} lines, {FILE_LINES} are allowed",
            file.path
        ));
    }
    for f in functions(file).iter().filter(|f| f.lines > FUNCTION_LINES) {
        let (path, line) = (&file.path, f.line);
        findings.push(format!(
            "{path}:{line} {} has {} lines, {FUNCTION_LINES} are allowed",
            f.name, f.lines
        ));
    }
    findings
}

fn misnamed_or_silent(file: &TextFile) -> Vec<String> {
    let mut findings = Vec::new();
    if file.path.ends_with("/mod.rs") {
        findings.push(format!("{}: modules are foo.rs + foo/", file.path));
    }
    let opens = file
        .text
        .lines()
        .find(|l| !l.trim().is_empty() && !l.starts_with("#!["));
    let is_root = ["/src/lib.rs", "/src/main.rs"]
        .iter()
        .any(|r| file.path.ends_with(r));
    if is_root && !opens.is_some_and(|l| l.starts_with("//!")) {
        findings.push(format!(
            "{} does not open by saying what the crate is",
            file.path
        ));
    }
    findings
}

#[test]
fn files_and_functions_fit() {
    let findings: Vec<String> = repo::files_ending(".rs")
        .iter()
        .flat_map(too_long)
        .collect();
    assert!(findings.is_empty(), "{findings:#?}");
}

#[test]
fn modules_are_named_files_and_crates_say_what_they_are() {
    let findings: Vec<String> = repo::files_ending(".rs")
        .iter()
        .flat_map(misnamed_or_silent)
        .collect();
    assert!(findings.is_empty(), "{findings:#?}");
}

/// Not a rule, a figure for those who look: `cargo test -p tests --test house longest --
/// --nocapture`.
#[test]
fn longest_file_and_function_are_known() {
    let files = repo::files_ending(".rs");
    let longest = files.iter().max_by_key(|f| f.text.lines().count()).unwrap();
    let all = files
        .iter()
        .flat_map(|f| functions(f).into_iter().map(|g| (f.path.clone(), g)));
    let (path, function) = all.max_by_key(|(_, f)| f.lines).unwrap();
    println!(
        "longest file: {} ({} lines)",
        longest.path,
        longest.text.lines().count()
    );
    println!(
        "longest function: {} in {path} ({} lines)",
        function.name, function.lines
    );
    assert!(function.lines > 10, "the scanner sees no functions");
}

#[test]
fn the_scanner_sees_functions_where_they_are() {
    let text = "\
type Callback = fn(u8) -> u8;
trait T { fn declared(&self); fn with_body(&self) {} }
#[tokio::test(flavor = \"x\")]
async fn asynchronous() -> Vec<u8>
where
    u8: Sized,
{
    fn nested() { \"}}} fn no() {\" ; }
    vec![]
}
proptest! { #[test] fn inside_a_macro(x in 0..9) { // } fn nor_this() {
} }
#[cfg(test)] mod tests { #[test] #[ignore] fn plain() {} fn helper() {} }
";
    let seen = functions(&TextFile::new("x.rs", text));
    let seen: Vec<_> = seen
        .iter()
        .map(|f| (f.name.as_str(), f.line, f.lines, f.is_test))
        .collect();
    let mut expected = vec![
        ("with_body", 2, 1, false),
        ("asynchronous", 4, 7, true),
        ("nested", 8, 1, false),
        ("inside_a_macro", 11, 2, true),
        ("plain", 13, 1, true),
        ("helper", 13, 1, false),
    ];
    expected.sort_unstable_by_key(|f| (f.1, f.0));
    let mut seen = seen;
    seen.sort_unstable_by_key(|f| (f.1, f.0));
    assert_eq!(seen, expected);
}

#[test]
fn the_length_rules_can_fail() {
    let function = |lines: usize| format!("fn f() {{\n{}}}\n", "// x\n".repeat(lines - 2));
    for (text, findings) in [
        (function(FUNCTION_LINES), 0),
        (function(FUNCTION_LINES + 1), 1),
        ("// x\n".repeat(FILE_LINES), 0),
        ("// x\n".repeat(FILE_LINES + 1), 1),
    ] {
        let lines = text.lines().count();
        assert_eq!(
            too_long(&TextFile::new("x.rs", &text)).len(),
            findings,
            "{lines} lines"
        );
    }
}

#[test]
fn the_naming_and_opening_rules_can_fail() {
    for (path, text, findings) in [
        ("a/src/lib.rs", "//! What it is.\n", 0),
        ("a/src/lib.rs", "#![no_std]\n//! What it is.\n", 0),
        ("a/src/lib.rs", "pub mod x;\n", 1),
        ("a/src/main.rs", "", 1),
        ("a/src/x.rs", "pub mod y;\n", 0),
        ("a/src/x/mod.rs", "//! Module.\n", 1),
    ] {
        assert_eq!(
            misnamed_or_silent(&TextFile::new(path, text)).len(),
            findings,
            "{path} {text:?}"
        );
    }
}
