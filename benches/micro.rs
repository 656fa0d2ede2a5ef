//! How long the functions take that most requests need: `cargo bench --bench micro`.

mod cases;

use criterion::{Criterion, criterion_group, criterion_main};

fn all(criterion: &mut Criterion) {
    for name in cases::NAMES {
        let mut case = match cases::case(name) {
            Ok(case) => case,
            Err(error) => panic!("{name} cannot be set up: {error:#}"),
        };
        criterion.bench_function(name, |bencher| bencher.iter(&mut case));
    }
}

criterion_group!(benches, all);
criterion_main!(benches);
