//! A corner of the matrix (`cargo xtask bench matrix`): two adversaries, three jobs.

use anyhow::Result;
use tests::matrix::{Policy, Settings, Workload, case, run};

#[test]
fn adversaries_get_nothing_wrong_through_and_cost_no_honest_provider_anything() -> Result<()> {
    let settings = Settings {
        policy: Policy::Replicate,
        honest: 2,
        openings: false,
        jobs: 3,
    };
    let workload = Workload::new(settings.jobs, false)?;
    let (mut given, mut caught) = (0, 0);
    for name in ["two colluders, one operator", "stale, one weight"] {
        let row = run(case(name)?, settings, &workload)?;
        assert_eq!((row.failed, row.items), (0, 12), "{row:?}");
        assert_eq!(row.wrong_items, 0, "{row:?}");
        assert_eq!((row.honest_slashed, row.honest_outvoted), (0, 0), "{row:?}");
        assert_eq!(row.adversary_earned, 0, "{row:?}");
        given += row.adversary_items;
        caught += row.caught.len();
    }
    // Who is given what is drawn: that neither got any of twelve shards happens once in ten million runs.
    assert!(given > 0 && caught > 0, "{given} {caught}");
    Ok(())
}
