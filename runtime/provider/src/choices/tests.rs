use super::*;

fn config(data: &Path) -> ProviderConfig {
    ProviderConfig::new(data.to_owned(), "/bin/true".into(), Vec::new())
}

#[test]
fn what_was_changed_goes_before_the_configuration_and_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let desired = Desired::open(&config(dir.path())).unwrap();
    let before = desired.get();
    let changed = desired
        .change(|changes, _| changes.per_gfuel = Some(Amount(7)))
        .unwrap();
    assert_eq!(changed.price.per_gfuel, Amount(7));
    assert_eq!(
        changed.price.per_device_second,
        before.price.per_device_second
    );
    let again = Desired::open(&config(dir.path())).unwrap();
    assert_eq!(again.get(), changed);
    assert_eq!(again.changes(), desired.changes());
    let back = again.change(|changes, _| changes.per_gfuel = None).unwrap();
    assert_eq!(back, before);
}

#[test]
fn what_cannot_be_written_is_not_changed() {
    let dir = tempfile::tempdir().unwrap();
    let desired = Desired::open(&config(dir.path())).unwrap();
    let before = desired.get();
    // In the way of the file as a full disk would be, for root too.
    fs::create_dir(dir.path().join("changes.json.part")).unwrap();
    let refused = desired.change(|changes, _| changes.mode = Some(Mode::Never));
    assert!(matches!(refused, Err(Error::Io { .. })), "{refused:?}");
    assert_eq!(desired.get(), before);
    assert_eq!(desired.changes(), Changes::default());
}

#[test]
fn a_damaged_file_of_changes_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(CHANGES_FILE);
    for (text, said) in [
        ("{\"per_gfuel\": \"1\"", "EOF"),
        ("{\"per_gful\": \"1\"}", "per_gful"),
        ("{\"mode\": \"sometimes\"}", "sometimes"),
        ("", "EOF"),
    ] {
        fs::write(&path, text).unwrap();
        let error = Desired::open(&config(dir.path())).unwrap_err().to_string();
        let named = error.contains(said) && error.contains(CHANGES_FILE);
        assert!(named, "{text}: {error}");
    }
    fs::write(&path, vec![b' '; CHANGES_BYTES_MAX as usize + 1]).unwrap();
    let error = Desired::open(&config(dir.path())).unwrap_err().to_string();
    assert!(error.contains("larger than 1048576 bytes"), "{error}");
}

#[test]
fn a_mode_for_a_while_ends_whatever_the_clock_does() {
    let dir = tempfile::tempdir().unwrap();
    let mut choices = Choices::of(&config(dir.path()));
    choices.spell = Some(Spell {
        mode: Mode::Never,
        until: Timestamp(SPELL_MS_MAX + 1000),
    });
    for (now, expected) in [
        (1000, Mode::Never),
        (SPELL_MS_MAX + 999, Mode::Never),
        (SPELL_MS_MAX + 1000, Mode::Always),
        // The clock jumped back by more than any spell lasts.
        (0, Mode::Always),
    ] {
        assert_eq!(choices.mode_at(Timestamp(now)), expected, "{now}");
    }
}

#[test]
fn modes_are_spelled_one_way() {
    for mode in [Mode::Auto, Mode::Always, Mode::Never] {
        assert_eq!(mode.to_string().parse(), Ok(mode));
    }
    let error = "ever".parse::<Mode>().unwrap_err();
    assert_eq!(error, "\"ever\" is no mode: use auto, always or never");
}
