use super::*;
use crate::daemon_file::checks::{all_named, all_shown};

fn parse(text: &str) -> Result<ProviderFile, String> {
    KIND.parse(text)
}

fn chosen() -> Chosen {
    Chosen {
        aggregators: vec![
            "/ip4/192.0.2.1/tcp/7701".into(),
            "http://192.0.2.1:7700".into(),
        ],
        workers: 3,
        memory_max: 1 << 30,
        cache_max: 20 << 30,
        price_per_gfuel: Amount(100),
        price_per_device_second: Amount(250),
    }
}

fn text() -> String {
    render(&chosen(), &["because".to_owned()])
}

#[test]
fn what_is_written_is_read() {
    let file = parse(&text()).unwrap();
    let chosen = chosen();
    assert_eq!(file.aggregators, Some(chosen.aggregators));
    assert_eq!(file.workers, Some(3));
    assert_eq!(file.memory_max, Some(Size(1 << 30)));
    assert_eq!(file.cache_max, Some(Size(20 << 30)));
    assert_eq!(file.price_per_gfuel, Some(Amount(100)));
    assert_eq!(file.price_per_device_second, Some(Amount(250)));
    assert_eq!(file.mode, None);
}

#[test]
fn every_key_is_shown_with_a_value_that_is_valid() {
    let file: ProviderFile = all_shown(&KIND, &text());
    assert_eq!(file.mode, Some(Mode::Always));
    assert_eq!(file.model_max, Some(Size(500 << 20)));
}

#[test]
fn what_is_wrong_is_named_with_its_line_its_key_and_the_fix() {
    let wrong = [
        (
            "worker = 2",
            "unknown key `worker`: did you mean `workers`?",
        ),
        ("prise_per_gfuel = \"1\"", "did you mean `price_per_gfuel`?"),
        (
            "frobnicate = 2",
            "unknown key `frobnicate`: there are schema, ",
        ),
        ("fuel_max = \"lots\"", "key `fuel_max`: invalid type"),
        ("fuel_max = -1", "key `fuel_max`: invalid value"),
        (
            "model_max = \"500MB\"",
            "key `model_max`: \"500MB\" is no size",
        ),
        ("model_max = 1.5", "key `model_max`: expected a size"),
        ("reward_min = \"1.0000001\"", "key `reward_min`: "),
        ("mode = \"ever\"", "key `mode`: unknown variant `ever`"),
        ("device = \"tpu\"", "key `device`: unknown variant `tpu`"),
        ("trust = [\"me\"]", "key `trust`: "),
        ("workers = 4", "key `workers`: duplicate key"),
        ("fuel_max = ", "line "),
        ("drain_seconds", "line "),
    ];
    all_named::<ProviderFile>(&KIND, &text(), "#reward_min = \"0\"", &wrong);
}

#[test]
fn a_file_cut_short_anywhere_is_refused() {
    let whole = text();
    let end = whole.find("complete = true").unwrap() + "complete = true".len();
    for at in (0..end).filter(|at| whole.is_char_boundary(*at)) {
        let cut = &whole[..at];
        let error = parse(cut).unwrap_err();
        assert!(!error.is_empty(), "cut at {at}");
    }
    parse(&whole[..end]).unwrap();
    let error = parse("schema = 1\nworkers = 2\n").unwrap_err();
    assert!(error.contains("assay provider init --force"), "{error}");
    let error = parse("schema = 2\ncomplete = true\n").unwrap_err();
    assert!(
        error.contains("it has schema 2, this program reads schema 1"),
        "{error}"
    );
}

#[test]
fn a_file_is_replaced_only_if_that_was_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = KIND.write(dir.path(), "one", false).unwrap();
    let error = KIND
        .write(dir.path(), "two", false)
        .unwrap_err()
        .to_string();
    assert!(error.contains("--force"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "one");
    KIND.write(dir.path(), "two", true).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "two");
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}
