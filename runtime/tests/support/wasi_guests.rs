//! Guests that import WASI, written by hand: the world of a job does not have it.

/// The interfaces, as tools for other languages import them.
const IMPORTS: &str = r#"
  (import "wasi:io/poll@0.2.3" (instance $poll
    (export "pollable" (type $p (sub resource)))
    (export "[method]pollable.ready" (func (param "self" (borrow $p)) (result bool)))
    (export "[method]pollable.block" (func (param "self" (borrow $p))))
    (export "poll" (func (param "in" (list (borrow $p))) (result (list u32))))))
  (alias export $poll "pollable" (type $pollable))
  (import "wasi:io/error@0.2.0" (instance $error (export "error" (type (sub resource)))))
  (alias export $error "error" (type $io-error))
  (import "wasi:io/streams@0.2.0" (instance $streams
    (export "input-stream" (type $i (sub resource)))
    (export "output-stream" (type $o (sub resource)))
    (alias outer 1 $io-error (type $e0))
    (export "error" (type $e (eq $e0)))
    (type $s0 (variant (case "last-operation-failed" (own $e)) (case "closed")))
    (export "stream-error" (type $s (eq $s0)))
    (export "[method]input-stream.blocking-read" (func (param "self" (borrow $i)) (param "len" u64)
      (result (result (list u8) (error $s)))))
    (export "[method]output-stream.blocking-write-and-flush" (func (param "self" (borrow $o))
      (param "contents" (list u8)) (result (result (error $s)))))))
  (alias export $streams "input-stream" (type $input))
  (alias export $streams "output-stream" (type $output))
  (import "wasi:cli/stdin@0.2.10" (instance $stdin
    (alias outer 1 $input (type $i0)) (export "input-stream" (type $i (eq $i0)))
    (export "get-stdin" (func (result (own $i))))))
  (import "wasi:cli/stdout@0.2.10" (instance $stdout
    (alias outer 1 $output (type $o0)) (export "output-stream" (type $o (eq $o0)))
    (export "get-stdout" (func (result (own $o))))))
  (import "wasi:cli/stderr@0.2.10" (instance $stderr
    (alias outer 1 $output (type $o0)) (export "output-stream" (type $o (eq $o0)))
    (export "get-stderr" (func (result (own $o))))))
  (import "wasi:cli/environment@0.2.0" (instance $environment
    (export "get-environment" (func (result (list (tuple string string)))))
    (export "get-arguments" (func (result (list string))))))
  (import "wasi:cli/exit@0.2.0" (instance $exit
    (export "exit" (func (param "status" (result))))))
  (import "wasi:clocks/monotonic-clock@0.2.3" (instance $clock
    (alias outer 1 $pollable (type $p0)) (export "pollable" (type $p (eq $p0)))
    (export "now" (func (result u64)))
    (export "subscribe-duration" (func (param "when" u64) (result (own $p))))))
  (import "wasi:clocks/wall-clock@0.2.3" (instance $wall
    (type $d0 (record (field "seconds" u64) (field "nanoseconds" u32)))
    (export "datetime" (type $d (eq $d0)))
    (export "now" (func (result $d)))))
  (import "wasi:random/random@0.2.0" (instance $random
    (export "get-random-bytes" (func (param "len" u64) (result (list u8))))
    (export "get-random-u64" (func (result u64)))))
  (import "wasi:random/insecure@0.2.0" (instance $insecure
    (export "get-insecure-random-u64" (func (result u64)))))
  (import "wasi:random/insecure-seed@0.2.0" (instance $insecure-seed
    (export "insecure-seed" (func (result (tuple u64 u64))))))
  (import "wasi:filesystem/types@0.2.0" (instance $files
    (export "descriptor" (type $d (sub resource)))
    (type $c0 (enum "access" "io")) (export "error-code" (type $c (eq $c0)))
    (export "[method]descriptor.sync" (func (param "self" (borrow $d))
      (result (result (error $c)))))))
  (alias export $files "descriptor" (type $descriptor))
  (import "wasi:filesystem/preopens@0.2.0" (instance $preopens
    (alias outer 1 $descriptor (type $d0)) (export "descriptor" (type $d (eq $d0)))
    (export "get-directories" (func (result (list (tuple (own $d) string)))))))
  (import "wasi:sockets/network@0.2.0" (instance $network
    (export "network" (type (sub resource)))
    (type $c0 (enum "unknown" "access-denied" "not-supported")) (export "error-code" (type (eq $c0)))
    (type $f0 (enum "ipv4" "ipv6")) (export "ip-address-family" (type (eq $f0)))))
  (alias export $network "network" (type $net))
  (alias export $network "error-code" (type $code))
  (alias export $network "ip-address-family" (type $family))
  (import "wasi:sockets/instance-network@0.2.0" (instance $instance-network
    (alias outer 1 $net (type $n0)) (export "network" (type $n (eq $n0)))
    (export "instance-network" (func (result (own $n))))))
  (import "wasi:sockets/tcp@0.2.0" (instance $tcp (export "tcp-socket" (type (sub resource)))))
  (alias export $tcp "tcp-socket" (type $socket))
  (import "wasi:sockets/tcp-create-socket@0.2.0" (instance $create
    (alias outer 1 $socket (type $s0)) (export "tcp-socket" (type $s (eq $s0)))
    (alias outer 1 $code (type $c0)) (export "error-code" (type $c (eq $c0)))
    (alias outer 1 $family (type $f0)) (export "ip-address-family" (type $f (eq $f0)))
    (export "create-tcp-socket" (func (param "address-family" $f)
      (result (result (own $s) (error $c)))))))
"#;

/// What the guest's module calls them: name, how it is lowered, parameters, results.
const FUNCTIONS: &[(&str, &str, &str, &str)] = &[
    ("ready", r#"$poll "[method]pollable.ready""#, "i32", "i32"),
    ("block", r#"$poll "[method]pollable.block""#, "i32", ""),
    ("poll", r#"$poll "poll""#, "i32 i32 i32", ""),
    ("stdin", r#"$stdin "get-stdin""#, "", "i32"),
    ("stdout", r#"$stdout "get-stdout""#, "", "i32"),
    ("stderr", r#"$stderr "get-stderr""#, "", "i32"),
    (
        "read",
        r#"$streams "[method]input-stream.blocking-read""#,
        "i32 i64 i32",
        "",
    ),
    (
        "write",
        r#"$streams "[method]output-stream.blocking-write-and-flush""#,
        "i32 i32 i32 i32",
        "",
    ),
    (
        "environment",
        r#"$environment "get-environment""#,
        "i32",
        "",
    ),
    ("arguments", r#"$environment "get-arguments""#, "i32", ""),
    ("exit", r#"$exit "exit""#, "i32", ""),
    ("now", r#"$clock "now""#, "", "i64"),
    ("after", r#"$clock "subscribe-duration""#, "i64", "i32"),
    ("wall", r#"$wall "now""#, "i32", ""),
    ("bytes", r#"$random "get-random-bytes""#, "i64 i32", ""),
    ("number", r#"$random "get-random-u64""#, "", "i64"),
    (
        "insecure",
        r#"$insecure "get-insecure-random-u64""#,
        "",
        "i64",
    ),
    ("seed", r#"$insecure-seed "insecure-seed""#, "i32", ""),
    ("directories", r#"$preopens "get-directories""#, "i32", ""),
    (
        "network",
        r#"$instance-network "instance-network""#,
        "",
        "i32",
    ),
    ("socket", r#"$create "create-tcp-socket""#, "i32 i32", ""),
];

/// A guest that runs `body` and returns its items. In `body`, `$items` and `$count` are the items,
/// `$at` is where the first one lies, and `$i` is free. Lists come to rest above 65536.
pub(crate) fn wasi_guest(data: &str, body: &str) -> Vec<u8> {
    let (mut lowered, mut given, mut taken) = (String::new(), String::new(), String::new());
    for (name, path, params, results) in FUNCTIONS {
        lowered += &format!(
            r#"(core func ${name} (canon lower (func {path})
               (memory $memory) (realloc $realloc)))"#
        );
        given += &format!(r#"(export "{name}" (func ${name}))"#);
        taken += &format!(
            r#"(import "wasi" "{name}" (func ${name} (param {params}) (result {results})))"#
        );
    }
    let text = format!(
        r#"(component
  {IMPORTS}
  (core module $libc
    (memory (export "memory") 32)
    (global $top (mut i32) (i32.const 65536))
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
      (global.get $top)
      (global.set $top (i32.and (i32.add (i32.add (global.get $top) (local.get 3)) (i32.const 7))
        (i32.const -8)))))
  (core instance $libc (instantiate $libc))
  (alias core export $libc "memory" (core memory $memory))
  (alias core export $libc "cabi_realloc" (core func $realloc))
  (core func $drop-pollable (canon resource.drop $pollable))
  {lowered}
  (core module $main
    (import "libc" "memory" (memory 1))
    {taken}
    (import "wasi" "drop" (func $drop (param i32)))
    {data}
    (func (export "run") (param $items i32) (param $count i32) (result i32)
      (local $at i32) (local $i i32)
      (local.set $at (i32.load (local.get $items)))
      {body}
      (i32.store8 (i32.const 1024) (i32.const 0))
      (i32.store (i32.const 1028) (local.get $items))
      (i32.store (i32.const 1032) (local.get $count))
      (i32.const 1024)))
  (core instance $main (instantiate $main
    (with "libc" (instance $libc))
    (with "wasi" (instance {given} (export "drop" (func $drop-pollable))))))
  (type $e' (variant (case "bad-input" string) (case "model" string) (case "failed" string)))
  (export $e "job-error" (type $e'))
  (func $run (param "items" (list (list u8)))
    (result (result (list (list u8)) (error $e)))
    (canon lift (core func $main "run") (memory $memory) (realloc $realloc)))
  (export "run" (func $run)))"#
    );
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// Shows all that a guest could take for the world: both clocks before and after a sleep, all three
/// kinds of randomness, and a random number of each. For an item of 64 bytes.
pub(crate) fn looks_around() -> Vec<u8> {
    wasi_guest(
        r#"(data (i32.const 2048) "one line\nhalf a li")"#,
        r#"
        (i64.store (local.get $at) (call $now))
        (local.set $i (call $after (i64.const 3600000000000)))
        (call $block (local.get $i))
        (call $drop (local.get $i))
        (i64.store offset=8 (local.get $at) (call $now))
        (call $wall (i32.const 3072))
        (i64.store offset=16 (local.get $at) (i64.load (i32.const 3072)))
        (i64.store offset=24 (local.get $at) (call $number))
        (i64.store offset=32 (local.get $at) (call $insecure))
        (call $seed (i32.const 3072))
        (i64.store offset=40 (local.get $at) (i64.load offset=8 (i32.const 3072)))
        (call $bytes (i64.const 16) (i32.const 3072))
        (i64.store offset=48 (local.get $at) (i64.load (i32.load (i32.const 3072))))
        (call $write (call $stdout) (i32.const 2048) (i32.const 18) (i32.const 3072))
        (call $write (call $stderr) (i32.const 2048) (i32.const 8) (i32.const 3072))"#,
    )
}
