//! `cargo bench --bench micro` times the functions that most requests need. `cargo test --bench micro` runs each once
//! and checks its result.

mod cases;

use criterion::{Criterion, criterion_group, criterion_main};

fn all(criterion: &mut Criterion) {
    for name in cases::NAMES {
        let mut case = match cases::case(name) {
            Ok(case) => case,
            Err(error) => panic!("{name} cannot be set up: {error:#}"),
        };
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| {
                if let Err(error) = case() {
                    panic!("{name} did not do its work: {error:#}");
                }
            });
        });
    }
}

criterion_group!(benches, all);
criterion_main!(benches);
