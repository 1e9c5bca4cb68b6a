use super::*;
use crate::daemon_file::checks::{all_named, all_shown};

fn chosen() -> Chosen {
    Chosen {
        http: "127.0.0.1:7790".parse().unwrap(),
        http_names: vec!["assay.example.org".into()],
        p2p: vec!["/ip4/127.0.0.1/tcp/0".into()],
        fee_bps: 150,
        blob_quota: 1 << 30,
    }
}

fn parse(text: &str) -> Result<AggregatorFile, String> {
    KIND.parse(text)
}

#[test]
fn what_is_written_is_read() {
    let file = parse(&render(&chosen())).unwrap();
    let chosen = chosen();
    assert_eq!(file.http, Some(chosen.http));
    assert_eq!(file.http_names, Some(chosen.http_names));
    assert_eq!(file.p2p, Some(chosen.p2p));
    assert_eq!(file.fee_bps, Some(150));
    assert_eq!(file.blob_quota, Some(Size(1 << 30)));
    assert_eq!(file.stake_min, None);
}

#[test]
fn every_key_is_shown_with_a_value_that_is_valid() {
    let file: AggregatorFile = all_shown(&KIND, &render(&chosen()));
    assert_eq!(file.one_network, Some(false));
    assert_eq!(file.epoch_seconds, Some(3600));
}

#[test]
fn what_is_wrong_is_named_with_its_line_its_key_and_the_fix() {
    let wrong = [
        (
            "stakes_min = \"1\"",
            "unknown key `stakes_min`: did you mean `stake_min`?",
        ),
        (
            "frobnicate = 2",
            "unknown key `frobnicate`: there are schema, http, ",
        ),
        ("stake_min = \"1.0000001\"", "key `stake_min`: "),
        (
            "one_network = \"yes\"",
            "key `one_network`: invalid type: string",
        ),
        ("trust = [\"me\"]", "key `trust`: "),
        ("fee_bps = 100", "key `fee_bps`: duplicate key"),
        ("finality_seconds = -1", "key `finality_seconds`: invalid"),
    ];
    all_named::<AggregatorFile>(&KIND, &render(&chosen()), "#stake_min = \"0\"", &wrong);
    let error = parse("schema = 1\n").unwrap_err();
    assert!(error.contains("assay aggregator init --force"), "{error}");
}
