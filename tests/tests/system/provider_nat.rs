//! Providers that nobody can dial, and aggregators that move.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tests::{Daemon, Deadline, Market, Plan, amount, assay_binary, free_port};

use crate::provider::{alone, ask};

/// The longest that anything here may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Pause between two looks.
const POLL: Duration = Duration::from_millis(50);

#[test]
fn a_provider_that_listens_on_nothing_executes_and_is_paid_and_comes_back() -> Result<()> {
    let mut market = Market::up(&Plan::honest(1).with("--listen=none"))?;
    let provider = &market.providers[0];
    ensure!(
        provider.ready.p2p.is_empty(),
        "it listens at {:?}",
        provider.ready.p2p
    );
    ensure!(
        listening_sockets(provider.pid())? == 0,
        "it has a listening socket"
    );
    let job = market.submit(&alone("outbound"))?;
    market.wait_done(&job)?;
    market.fetch(&job)?;
    let http = format!("--aggregator={}", market.http());
    let earnings = ask(&market.providers[0].data, &["earnings", &http])?;
    ensure!(
        amount(&earnings["aggregator_says"]["paid"])? > 0,
        "{earnings}"
    );
    // The aggregator cannot come back to it, so it comes back to the aggregator.
    market.aggregator.restart()?;
    market.wait_for_providers(1)?;
    let job = market.submit(&alone("outbound-again"))?;
    market.wait_done(&job)?;
    Ok(())
}

/// TCP sockets of a process that listen, by the kernel's table of its network.
fn listening_sockets(pid: u32) -> Result<usize> {
    let own: Vec<String> = std::fs::read_dir(format!("/proc/{pid}/fd"))?
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .map(|target| target.to_string_lossy().into_owned())
        .collect();
    let mut count = 0;
    for table in ["tcp", "tcp6"] {
        let text = std::fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        let listens = text.lines().skip(1).filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            // State 0A is listening; the tenth field is the socket's inode.
            (fields.get(3) == Some(&"0A"))
                .then(|| format!("socket:[{}]", fields.get(9).unwrap_or(&"")))
        });
        count += listens.filter(|socket| own.contains(socket)).count();
    }
    Ok(count)
}

#[test]
fn an_aggregator_that_moved_is_found_by_its_url() -> Result<()> {
    let mut market = Market::up(&Plan::default())?;
    let data = market.dir().join("seeker");
    let arguments = [
        "provider".to_owned(),
        "start".to_owned(),
        format!("--data={}", data.display()),
        format!("--aggregator={}", market.http()),
        "--price-per-gfuel=0.001".to_owned(),
        "--listen=none".to_owned(),
        "--drain-seconds=5".to_owned(),
    ];
    let seeker = Daemon::start("seeker", &data, arguments.map(OsString::from).into())?;
    market.deposit(&format!("stake:{}", seeker.ready.id), "10")?;
    market.wait_for_providers(1)?;
    // The same aggregator at another address; only its URL stays.
    let http = market.http().trim_start_matches("http://").to_owned();
    let folder = market.aggregator.data.clone();
    market.aggregator.stop()?;
    let moved = [
        "aggregator".to_owned(),
        "start".to_owned(),
        format!("--data={}", folder.display()),
        format!("--http={http}"),
        format!("--p2p=/ip4/127.0.0.1/tcp/{}", free_port()?),
        "--one-network".to_owned(),
    ];
    let before = market.aggregator.ready.p2p.clone();
    market.aggregator = Daemon::start("aggregator", &folder, moved.map(OsString::from).into())?;
    ensure!(market.aggregator.ready.p2p != before, "it did not move");
    market.wait_for_providers(1)?;
    let job = market.submit(&alone("moved"))?;
    market.wait_done(&job)?;
    Ok(())
}

/// Network namespaces of one test: `inside` can reach `outside` through a router that hides it, and nobody can reach
/// `inside`. They go with the test.
struct Nat {
    inside: String,
    router: String,
}

/// The router's address towards the outside.
const OUTSIDE: &str = "10.213.77.1";

fn sh(line: &str) -> Result<()> {
    let output = Command::new("sh").args(["-ec", line]).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{said} from {line}");
    Ok(())
}

impl Nat {
    /// Nothing if this machine has no means for it.
    fn build() -> Result<Option<Self>> {
        let probe = "test \"$(id -u)\" = 0 && command -v nft && command -v ip";
        if let Err(error) = sh(probe) {
            eprintln!("NOT CHECKED: needs root, ip and nft ({error:#})");
            return Ok(None);
        }
        let pid = std::process::id();
        let nat = Self {
            inside: format!("assay-in-{pid}"),
            router: format!("assay-nat-{pid}"),
        };
        let Self { inside, router } = &nat;
        sh(&format!(
            "ip netns add {inside}; ip netns add {router}
             ip link add an-o{pid} type veth peer name wan netns {router}
             ip addr add {OUTSIDE}/24 dev an-o{pid}; ip link set an-o{pid} up
             ip -n {router} addr add 10.213.77.2/24 dev wan; ip -n {router} link set wan up
             ip -n {router} link add lan type veth peer name eth netns {inside}
             ip -n {router} addr add 192.168.213.1/24 dev lan; ip -n {router} link set lan up
             ip -n {inside} addr add 192.168.213.2/24 dev eth; ip -n {inside} link set eth up
             ip -n {inside} link set lo up
             ip -n {inside} route add default via 192.168.213.1
             ip netns exec {router} sysctl -qw net.ipv4.ip_forward=1
             ip netns exec {router} nft add table ip nat
             ip netns exec {router} nft add chain ip nat post '{{ type nat hook postrouting priority 100; }}'
             ip netns exec {router} nft add rule ip nat post oifname wan masquerade"
        ))?;
        Ok(Some(nat))
    }
}

impl Drop for Nat {
    fn drop(&mut self) {
        // The links go with their namespaces.
        let _ = sh(&format!(
            "ip netns del {}; ip netns del {}",
            self.inside, self.router
        ));
    }
}

#[test]
fn a_provider_behind_a_router_that_lets_nobody_in_executes_and_is_paid() -> Result<()> {
    let Some(nat) = Nat::build()? else {
        return Ok(());
    };
    let port = free_port()?;
    let plan = Plan::default().aggregator_argument(format!("--p2p=/ip4/{OUTSIDE}/tcp/{port}"));
    let market = Market::up(&plan)?;
    let data = market.dir().join("hidden");
    std::fs::create_dir(&data)?;
    let mut hidden = Command::new("ip")
        .args(["netns", "exec", &nat.inside])
        .arg(assay_binary()?)
        .args([
            "provider",
            "start",
            "--price-per-gfuel=0.001",
            "--drain-seconds=5",
        ])
        .arg(format!("--aggregator=/ip4/{OUTSIDE}/tcp/{port}"))
        // It listens where the router hides it, which must do no harm either.
        .arg("--listen=/ip4/0.0.0.0/tcp/0")
        .arg("--data")
        .arg(&data)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(market.dir().join("hidden.log"))?)
        .spawn()?;
    let worked = work_hidden(&market, &data, &nat);
    Command::new("kill").arg(hidden.id().to_string()).status()?;
    hidden.wait()?;
    let log = std::fs::read_to_string(market.dir().join("hidden.log")).unwrap_or_default();
    worked.with_context(|| log)
}

fn work_hidden(market: &Market, data: &Path, nat: &Nat) -> Result<()> {
    // The control socket is a file: it is there from any network.
    let deadline = Deadline::after(PATIENCE);
    let status = loop {
        if let Ok(status) = ask(data, &["status"])
            && status["aggregators"][0]["listed"] == true
        {
            break status;
        }
        ensure!(!deadline.over(), "it never offered\n{}", market.logs());
        std::thread::sleep(POLL);
    };
    let id = status["provider"].as_str().context("no id")?;
    market.deposit(&format!("stake:{id}"), "10")?;
    market.wait_for_providers(1)?;
    // Nobody gets in: the address that it has inside leads nowhere from here.
    let ping = sh("ip route get 192.168.213.2 | grep -q an-o");
    ensure!(ping.is_err(), "the outside has a way into {}", nat.inside);
    let job = market.submit(&alone("hidden"))?;
    market.wait_done(&job)?;
    let http = format!("--aggregator={}", market.http());
    let earnings = ask(data, &["earnings", &http])?;
    ensure!(
        amount(&earnings["aggregator_says"]["paid"])? > 0,
        "{earnings}"
    );
    Ok(())
}
