;; The guest of the component tests, by hand: `run(scene)` plays one scene.
;; Every failing call returns 1000 + the code of the error it was given.
(module
  (import "wasi:nn/tensor@0.2.0-rc-2024-10-28" "[constructor]tensor"
    (func $tensor (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi:nn/tensor@0.2.0-rc-2024-10-28" "[method]tensor.ty" (func $ty (param i32) (result i32)))
  (import "wasi:nn/tensor@0.2.0-rc-2024-10-28" "[method]tensor.data" (func $data (param i32 i32)))
  (import "wasi:nn/tensor@0.2.0-rc-2024-10-28" "[resource-drop]tensor" (func $drop_tensor (param i32)))
  (import "wasi:nn/graph@0.2.0-rc-2024-10-28" "load" (func $load (param i32 i32 i32 i32 i32)))
  (import "wasi:nn/graph@0.2.0-rc-2024-10-28" "load-by-name" (func $load_by_name (param i32 i32 i32)))
  (import "wasi:nn/graph@0.2.0-rc-2024-10-28" "[method]graph.init-execution-context" (func $init (param i32 i32)))
  (import "wasi:nn/graph@0.2.0-rc-2024-10-28" "[resource-drop]graph" (func $drop_graph (param i32)))
  (import "wasi:nn/inference@0.2.0-rc-2024-10-28" "[method]graph-execution-context.compute"
    (func $compute (param i32 i32 i32 i32)))
  (import "wasi:nn/errors@0.2.0-rc-2024-10-28" "[method]error.code" (func $code (param i32) (result i32)))

  (memory (export "memory") 2)
  (data (i32.const 0) "\01\00\00\00\02\00\00\00")          ;; dimensions [1, 2]
  (data (i32.const 16) "\00\00\c0\3f\00\00\00\40")         ;; 1.5, 2.0
  (data (i32.const 32) "x")
  (data (i32.const 40) "g")
  ;; 64: one named tensor (name, length, handle); 128: where results go; 4096 and up: what the host allocates
  (global $free (mut i32) (i32.const 4096))

  (func (export "cabi_realloc") (param $old i32) (param $size i32) (param $align i32) (param $new i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $free) (i32.const 15)) (i32.const -16)))
    (global.set $free (i32.add (local.get $at) (local.get $new)))
    (local.get $at))

  ;; FP32 is the second case of the enum.
  (func $make (param $bytes i32) (result i32)
    (call $tensor (i32.const 0) (i32.const 2) (i32.const 1) (i32.const 16) (local.get $bytes)))

  (func $fault (result i32)
    (i32.add (i32.const 1000) (call $code (i32.load (i32.const 132)))))

  ;; The context of graph "g", whose handle is dropped at once.
  (func $context (result i32)
    (local $graph i32)
    (call $load_by_name (i32.const 40) (i32.const 1) (i32.const 128))
    (if (i32.load8_u (i32.const 128)) (then unreachable))
    (local.set $graph (i32.load (i32.const 132)))
    (call $init (local.get $graph) (i32.const 128))
    (if (i32.load8_u (i32.const 128)) (then unreachable))
    (call $drop_graph (local.get $graph))
    (i32.load (i32.const 132)))

  ;; Computes on input "x"; the results are at 128.
  (func $run_graph (param $context i32) (param $tensor i32)
    (i32.store (i32.const 64) (i32.const 32))
    (i32.store (i32.const 68) (i32.const 1))
    (i32.store (i32.const 72) (local.get $tensor))
    (call $compute (local.get $context) (i32.const 64) (i32.const 1) (i32.const 128)))

  ;; The handle of the first output.
  (func $first (result i32)
    (i32.load offset=8 (i32.load (i32.const 132))))

  (func (export "run") (param $scene i32) (result i32)
    (local $context i32)
    (local $tensor i32)
    (if (i32.eqz (local.get $scene)) (then                   ;; 0: double twice, read the first number
      (local.set $context (call $context))
      (call $run_graph (local.get $context) (call $make (i32.const 8)))
      (if (i32.load8_u (i32.const 128)) (then (return (call $fault))))
      (call $run_graph (local.get $context) (call $first))
      (if (i32.load8_u (i32.const 128)) (then (return (call $fault))))
      (call $data (call $first) (i32.const 128))
      (return (i32.load (i32.load (i32.const 128))))))
    (if (i32.eq (local.get $scene) (i32.const 1)) (then      ;; 1: seven bytes for two numbers
      (call $run_graph (call $context) (call $make (i32.const 7)))
      (if (i32.load8_u (i32.const 128)) (then (return (call $fault))))
      (return (i32.const 0))))
    (if (i32.eq (local.get $scene) (i32.const 2)) (then      ;; 2: use after drop
      (local.set $tensor (call $make (i32.const 8)))
      (call $drop_tensor (local.get $tensor))
      (return (call $ty (local.get $tensor)))))
    (if (i32.eq (local.get $scene) (i32.const 3)) (then      ;; 3: hoard
      (loop $more
        (drop (call $make (i32.const 8)))
        (br $more))))
    (if (i32.eq (local.get $scene) (i32.const 4)) (then      ;; 4: a compute that does not end
      (call $run_graph (call $context) (call $make (i32.const 8)))
      (return (i32.const 0))))
    (if (i32.eq (local.get $scene) (i32.const 5)) (then      ;; 5: a graph of the guest's own
      (call $load (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 128))
      (if (i32.load8_u (i32.const 128)) (then (return (call $fault))))
      (return (i32.const 0))))
    (if (i32.eq (local.get $scene) (i32.const 6)) (then      ;; 6: a name that no manifest has
      (call $load_by_name (i32.const 32) (i32.const 1) (i32.const 128))
      (if (i32.load8_u (i32.const 128)) (then (return (call $fault))))
      (return (i32.const 0))))
    unreachable))
