fn main() {
    bench_common::run(|_, _| async { Err("not yet".into()) });
}
