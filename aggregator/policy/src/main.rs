//! tmp
#![allow(clippy::print_stdout)]
fn main() {
    let mut c = policy::sim::Campaign::default();
    let a: Vec<String> = std::env::args().skip(1).collect();
    for x in &a {
        if let Some(v) = x.strip_prefix("p=") {
            c.policies.push(v.into());
        }
        if let Some(v) = x.strip_prefix("a=") {
            c.adversaries.push(v.into());
        }
        if let Some(v) = x.strip_prefix("h=") {
            c.horizons = vec![v.parse().unwrap()];
        }
        if let Some(v) = x.strip_prefix("l=") {
            c.lives = v.parse().unwrap();
        }
        if x == "nosweep" {
            c.sweeps = false;
        }
    }
    let r = policy::sim::run(&c, |_, _| {});
    println!("{}", policy::sim::table::text(&r));
}
