use super::*;

/// A whole job in text, with a hole for each thing a test breaks.
fn component(imports: &str, module: &str, options: &str, run_type: &str) -> Vec<u8> {
    wat::parse_str(filled(TEXT, imports, module, options, run_type)).unwrap()
}

fn filled(text: &str, imports: &str, module: &str, options: &str, run_type: &str) -> String {
    text.replace("{imports}", imports)
        .replace("{module}", module)
        .replace("{options}", options)
        .replace("{run_type}", run_type)
}

const TEXT: &str = r#"(component
          {imports}
          (core module $m
            (memory (export "memory") 1)
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 0)
            (func (export "run") (param i32 i32) (result i32) i32.const 0)
            {module})
          (core instance $i (instantiate $m))
          (type $error' (variant (case "bad-input" string) (case "model" string) (case "failed" string)))
          (export $error "job-error" (type $error'))
          (func $run {run_type}
            (canon lift (core func $i "run")
              (memory $i "memory") (realloc (func $i "realloc")) {options}))
          (export "run" (func $run)))"#;

const RUN: &str =
    r#"(param "items" (list (list u8))) (result (result (list (list u8)) (error $error)))"#;

fn refused(bytes: &[u8], words: &str) {
    let error = check(bytes).unwrap_err().to_string();
    assert!(error.contains(words), "{error:?} does not say {words:?}");
}

#[test]
fn what_the_component_library_makes_of_the_world_is_a_job() {
    use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
    use wit_parser::{ManglingAndAbi, Resolve};

    let wit = concat!(env!("CARGO_MANIFEST_DIR"), "/../guest-sdk/wit");
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(wit).unwrap();
    let world = resolve.select_world(&[package], Some("inference")).unwrap();
    let mut module = dummy_module(&resolve, world, ManglingAndAbi::Standard32);
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    let encoder = ComponentEncoder::default().validate(true);
    let bytes = encoder.module(&module).unwrap().encode().unwrap();
    let summary = check(&bytes).unwrap();
    assert_eq!(summary.imports, ALLOWED_IMPORTS);
    assert!(summary.exports.contains(&"run".to_owned()), "{summary:?}");
}

#[test]
fn a_small_job_passes() {
    let import = r#"(import "assay:job/log@0.1.0" (instance))"#;
    let summary = check(&component(import, "", "", RUN)).unwrap();
    assert_eq!(summary.imports, ["assay:job/log@0.1.0"]);
    assert_eq!(summary.exports, ["job-error", "run"]);
}

#[test]
fn the_first_foreign_import_is_named() {
    for import in [
        "wasi:cli/environment@0.3.0",
        "wasi:cli/environment@0.2.0-rc-2023-11-10",
        "wasi:cli/environment@0.2.1000",
        "wasi:cli/environment",
        "wasi:cli/run@0.2.6",
        "wasi:http/outgoing-handler@0.2.6",
        "wasi:filesystem/preopens@1.0.0",
        "wasi:nn/graph@0.2.0-rc-2024-06-25",
        "assay:job/log@0.2.0",
        "assay:job/log",
        "anything",
    ] {
        let text =
            format!(r#"(import "assay:job/log@0.1.0" (instance)) (import "{import}" (instance))"#);
        refused(&component(&text, "", "", RUN), &format!("{import:?}"));
    }
    let as_function = r#"(import "assay:job/log@0.1.0" (func))"#;
    refused(
        &component(as_function, "", "", RUN),
        "other than an interface",
    );
}

#[test]
fn a_job_that_imports_wasi_of_any_0_2_release_is_of_the_compat_profile() {
    let pure = check(&component("", "", "", RUN)).unwrap();
    assert_eq!(pure.profile, Profile::Pure);
    for patch in ["0", "3", "12", "999"] {
        for name in WASI_INTERFACES {
            let import = format!(r#"(import "{name}@0.2.{patch}" (instance))"#);
            let summary = check(&component(&import, "", "", RUN)).unwrap();
            assert_eq!(summary.profile, Profile::Compat, "{name}");
            assert_eq!(summary.imports, [format!("{name}@0.2.{patch}")]);
        }
    }
}

#[test]
fn things_that_are_not_components_are_told_apart() {
    refused(&wat::parse_str("(module)").unwrap(), "core module");
    refused(b"\x7fELF\x02\x01\x01\x00", "native code");
    refused(b"", "header");
    refused(b"hello", "header");
    refused(&wat::parse_str("(component)").unwrap(), "\"run\"");
    let good = component("", "", "", RUN);
    for length in [9, good.len() / 2, good.len() - 1] {
        assert!(check(&good[..length]).is_err(), "cut at {length}");
    }
    let mut long = good;
    long.push(0);
    assert!(check(&long).is_err());
}

#[test]
fn nesting_and_wide_strings_are_refused() {
    let shim = "(component (type (list u8)) (import \"a\" (func $f)) (export \"b\" (func $f)))";
    check(&component(shim, "", "", RUN)).unwrap();
    let most = SHIMS_MAX as usize;
    check(&component(&shim.repeat(most), "", "", RUN)).unwrap();
    let many = component(&shim.repeat(most + 1), "", "", RUN);
    refused(&many, "9 components within");
    for part in [
        "(core module)",
        "(component)",
        "(instance)",
        "(core type (func))",
        "(type $r (resource (rep i32))) (core func (canon resource.new $r))",
    ] {
        let part = format!("(component {part})");
        refused(&component(&part, "", "", RUN), "more in it than types");
    }
    let instances = |count: u32| {
        let instance = "(instance (instantiate $c))".repeat(count as usize);
        component(&format!("(component $c) {instance}"), "", "", RUN)
    };
    check(&instances(SHIMS_MAX)).unwrap();
    refused(
        &instances(SHIMS_MAX + 1),
        "9 instances of components within",
    );
    for encoding in ["string-encoding=utf16", "string-encoding=latin1+utf16"] {
        refused(&component("", "", encoding, RUN), "UTF16");
    }
}

#[test]
fn run_has_exactly_one_type() {
    for run in [
        r#"(param "items" (list u8)) (result (result (list (list u8)) (error $error)))"#,
        r#"(param "items" (list (list u8))) (result (result (list u8) (error $error)))"#,
        r#"(param "items" (list (list s8))) (result (result (list (list u8)) (error $error)))"#,
        r#"(param "items" (list (list u8))) (result (result (list (list u8)) (error string)))"#,
        r#"(param "items" (list (list u8))) (result (list (list u8)))"#,
    ] {
        refused(&component("", "", "", run), "is not func(items");
    }
    let error =
        r#"(variant (case "bad-input" string) (case "model" string) (case "failed" string))"#;
    let whole = component("", "", "", RUN);
    for other in [
        r#"(variant (case "failed" string))"#,
        r#"(variant (case "bad-input" string) (case "model" string) (case "failed"))"#,
        r#"(variant (case "bad-input" string) (case "model" string) (case "failed" u32))"#,
        r#"(variant (case "model" string) (case "bad-input" string) (case "failed" string))"#,
        r#"(variant (case "bad-input" string) (case "model" string) (case "failed" string) (case "late" string))"#,
    ] {
        let text = TEXT.replace(error, other);
        let bytes = wat::parse_str(filled(&text, "", "", "", RUN)).unwrap();
        assert_ne!(bytes, whole);
        refused(&bytes, "the error of its \"run\" has the cases");
    }
}

#[test]
fn features_that_differ_between_machines_are_refused() {
    for (module, words) in [
        ("(memory $big i64 1)", "memory64"),
        ("(memory 1) (memory 1)", "multiple memories"),
        ("(memory $shared 1 2 shared)", "thread"),
        ("(tag $t)", "exceptions"),
        ("(type (struct))", "gc"),
        (
            "(func (param v128 v128) (result v128) \
             local.get 0 local.get 1 i8x16.relaxed_swizzle)",
            "relaxed",
        ),
    ] {
        // A module of its own, so that nothing but the feature is wrong with it.
        let module = format!("(core module {module})");
        let error = check(&component(&module, "", "", RUN)).unwrap_err();
        let error = error.to_string().to_lowercase();
        assert!(error.contains(words), "{module}: {error}");
    }
}

#[test]
fn bombs_are_refused_before_validation() {
    let functions = "(func)".repeat(FUNCTIONS_MAX as usize);
    refused(&component("", &functions, "", RUN), "functions, more than");
    let globals = "(global i32 (i32.const 0))".repeat(GLOBALS_MAX as usize + 1);
    refused(&component("", &globals, "", RUN), "globals, more than");
    let body = format!("(func {})", "nop ".repeat(FUNCTION_BYTES_MAX));
    refused(&component("", &body, "", RUN), "bytes in one function");
    let customs = r#"(@custom "x" "")"#.repeat(CUSTOM_SECTIONS_MAX as usize + 1);
    refused(&component("", &customs, "", RUN), "custom sections");
    let blob = format!(r#"(@custom "x" "{}")"#, "a".repeat(CUSTOM_BYTES_MAX));
    refused(&component("", &blob, "", RUN), "bytes in custom sections");
    let modules = "(core module)".repeat(MODULES_MAX as usize);
    refused(&component(&modules, "", "", RUN), "core modules, more than");
    let cases: String = (0..9_000).map(|i| format!("(case \"case-{i}\")")).collect();
    let variant = format!("(type (variant {cases}))");
    refused(&component(&variant, "", "", RUN), "bytes of types");
    let error = check(&vec![0; COMPONENT_BYTES_MAX + 1]).unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
}

#[test]
fn the_feature_set_is_golden() {
    let names: Vec<_> = feature_names().into_iter().collect();
    let expected = [
        "BULK_MEMORY",
        "COMPONENT_MODEL",
        "EXTENDED_CONST",
        "FLOATS",
        "MULTI_VALUE",
        "MUTABLE_GLOBAL",
        "REFERENCE_TYPES",
        "SATURATING_FLOAT_TO_INT",
        "SIGN_EXTENSION",
        "SIMD",
        "TAIL_CALL",
    ];
    assert_eq!(names, expected);
}
