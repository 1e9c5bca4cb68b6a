use super::*;
use crate::compare::Grade;

fn field(pointer: &str, rule: FieldRule) -> Field {
    Field {
        pointer: pointer.into(),
        rule,
    }
}

/// A score by a tolerance, boxes by another but for their labels, and a time that nobody looks at.
fn rule() -> JsonRule {
    let numeric = |atol, rtol| FieldRule::Numeric { atol, rtol };
    JsonRule {
        fields: vec![
            field("/score", numeric(0.01, 0.0)),
            field("/boxes", numeric(0.0, 0.1)),
            field("/boxes/0/label", FieldRule::Exact),
            field("/a~1b/m~0n", FieldRule::Ignored),
        ],
    }
}

fn graded(rule: &JsonRule, left: &str, right: &str) -> Option<Grade> {
    let grade = |l: &str, r: &str| {
        compare(rule, l.as_bytes(), r.as_bytes())
            .err()
            .map(|f| f.grade)
    };
    assert_eq!(grade(left, right), grade(right, left), "{left} {right}");
    grade(left, right)
}

#[test]
fn fields_agree_by_their_rules_and_all_else_exactly() {
    let (ambiguous, clear) = (Some(Grade::Ambiguous), Some(Grade::Clear));
    for (left, right, expected) in [
        (
            r#"{"x":1,"y":[null,true]}"#,
            "{ \"y\" : [null,true],\t\"x\":1 }",
            None,
        ),
        (r#"{"x":"\u0041\/"}"#, r#"{"\u0078":"A/"}"#, None),
        (r#"{"x":1}"#, r#"{"x":1.0}"#, None),
        (r#"{"x":1}"#, r#"{"x":2}"#, clear),
        (
            r#"{"x":18446744073709551615}"#,
            r#"{"x":18446744073709551614}"#,
            clear,
        ),
        (r#"{"x":null}"#, "{}", clear),
        (r#"{"x":0}"#, r#"{"x":false}"#, clear),
        ("[1,2]", "[1,2,3]", clear),
        ("[1,2]", "[2,1]", clear),
        ("[]", "{}", clear),
        (r#"{"score":0.5}"#, r#"{"score":0.509}"#, None),
        (r#"{"score":0.5}"#, r#"{"score":0.52}"#, ambiguous),
        (r#"{"score":0.5}"#, r#"{"score":0.55}"#, clear),
        (r#"{"score":0.5}"#, r#"{"score":"0.5"}"#, clear),
        (r#"{"score":0.5}"#, "{}", clear),
        // Only where it is named.
        (
            r#"{"in":{"score":0.5}}"#,
            r#"{"in":{"score":0.501}}"#,
            clear,
        ),
        // All numbers within, at any depth, but where a longer pointer says otherwise.
        (
            r#"{"boxes":[{"at":[10,20],"label":3}]}"#,
            r#"{"boxes":[{"at":[10.5,19],"label":3}]}"#,
            None,
        ),
        (
            r#"{"boxes":[{"at":[10,20],"label":30}]}"#,
            r#"{"boxes":[{"at":[10,20],"label":31}]}"#,
            clear,
        ),
        (
            r#"{"boxes":[{},{"label":30}]}"#,
            r#"{"boxes":[{},{"label":31}]}"#,
            None,
        ),
        (
            r#"{"boxes":[{"name":"x"}]}"#,
            r#"{"boxes":[{"name":"y"}]}"#,
            clear,
        ),
        (r#"{"a/b":{"m~n":[1]}}"#, r#"{"a/b":{"m~n":"x"}}"#, None),
        (r#"{"a/b":{"m~n":[1]}}"#, r#"{"a/b":{}}"#, None),
        (
            r#"{"a/b":{"m~n":[1],"o":1}}"#,
            r#"{"a/b":{"m~n":[1],"o":2}}"#,
            clear,
        ),
    ] {
        assert_eq!(graded(&rule(), left, right), expected, "{left} {right}");
    }
}

#[test]
fn the_whole_value_can_be_a_field() {
    let whole = |rule| JsonRule {
        fields: vec![field("", rule), field("/1", FieldRule::Exact)],
    };
    let close = whole(FieldRule::Numeric {
        atol: 0.5,
        rtol: 0.0,
    });
    assert_eq!(graded(&close, "[1,2]", "[1.5,2]"), None);
    assert_eq!(graded(&close, "[1,2]", "[1,2.5]"), Some(Grade::Clear));
    assert_eq!(graded(&close, "1", "1.25"), None);
    let exact = JsonRule { fields: vec![] };
    assert_eq!(graded(&exact, "1", "1.25"), Some(Grade::Clear));
}

#[test]
fn the_place_and_the_values_are_named() {
    let reason = |left: &str, right: &str| {
        compare(&rule(), left.as_bytes(), right.as_bytes())
            .unwrap_err()
            .reason
    };
    assert_eq!(
        reason(r#"{"a":[0,{"b":1}]}"#, r#"{"a":[0,{"b":"x"}]}"#),
        "/a/1/b: 1 against \"x\""
    );
    assert_eq!(reason(r#"{"a":1}"#, "{}"), "/a: only one of the two has it");
    assert_eq!(
        reason(r#"{"score":1}"#, r#"{"score":1.02}"#),
        "/score: 1 against 1.02, more than 1e-2 apart"
    );
    assert_eq!(reason("[1]", "[]"), "1 elements against 0");
}

#[test]
fn what_is_no_single_json_value_is_incomparable() {
    let deep = |levels: u32| "[".repeat(levels as usize) + &"]".repeat(levels as usize);
    let wide = |values: u32| format!("[{}0]", "0,".repeat(values as usize - 2));
    let key = |count: u32| {
        let members: Vec<String> = (0..count)
            .map(|i| format!("\"{}\":0", i % (count - 1)))
            .collect();
        format!("{{{}}}", members.join(","))
    };
    for good in [
        deep(DEPTH_MAX),
        wide(VALUES_MAX),
        "\"\"".into(),
        " 0 ".into(),
    ] {
        assert_eq!(graded(&rule(), &good, &good), None, "{:.40}", good);
    }
    for (bad, words) in [
        (String::new(), "EOF"),
        ("NaN".into(), "expected value"),
        ("[Infinity]".into(), "expected value"),
        ("-".into(), "EOF"),
        ("01".into(), "invalid number"),
        ("1e999".into(), "number out of range"),
        ("1 2".into(), "trailing characters"),
        ("{\"a\":1,}".into(), "trailing comma"),
        ("\u{feff}1".into(), "expected value"),
        ("\"\t\"".into(), "control character"),
        (r#""\ud800""#.into(), "hex escape"),
        (r#"{"a":1,"\u0061":1}"#.into(), "the key \"a\" stands twice"),
        (key(1000), "stands twice"),
        (deep(DEPTH_MAX + 1), "deeper than 64"),
        ("[".repeat(1_000_000), "deeper than 64"),
        (wide(VALUES_MAX + 1), "more than 65536 values"),
        (
            " ".repeat(BYTES_MAX + 1),
            "4194305 bytes of JSON, more than 4194304",
        ),
    ] {
        let finding = compare(&rule(), bad.as_bytes(), b"0").unwrap_err();
        assert!(
            finding.reason.contains(words),
            "{words}: {}",
            finding.reason
        );
        assert_eq!(
            graded(&rule(), &bad, "0"),
            Some(Grade::Incomparable),
            "{words}"
        );
        assert_eq!(
            graded(&rule(), &bad, &bad),
            Some(Grade::Incomparable),
            "{words}"
        );
    }
    let finding = compare(&rule(), b"\"\xff\"", b"0").unwrap_err();
    assert!(finding.reason.contains("is not text"), "{}", finding.reason);
}

#[test]
fn a_pointer_is_one_of_rfc_6901() {
    for (pointer, expected) in [
        ("", Some(vec![])),
        ("/", Some(vec![""])),
        ("/a/0", Some(vec!["a", "0"])),
        ("/~01/~10/~0~1", Some(vec!["~1", "/0", "~/"])),
        ("a", None),
        ("/~", None),
        ("/~2", None),
        ("/a~", None),
    ] {
        let found = parts(pointer);
        let expected = expected.map(|p| p.into_iter().map(String::from).collect());
        assert_eq!(found, expected, "{pointer}");
    }
    assert!(parts(&format!("/{}", "x".repeat(POINTER_BYTES_MAX))).is_none());
}
