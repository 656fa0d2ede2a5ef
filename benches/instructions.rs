//! Calls a case of the micro-benchmarks so many times, for valgrind to count its instructions.
//!
//! `bench-instructions CASE COUNT`; without arguments, prints the names of the cases.

mod cases;

use anyhow::Context as _;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let Some(name) = arguments.next() else {
        for name in cases::NAMES {
            println!("{name}");
        }
        return Ok(());
    };
    let count: u32 = arguments.next().context("usage: CASE COUNT")?.parse()?;
    let mut case = cases::case(&name)?;
    // Work done only at the first use must not be counted.
    for _ in 0..10 {
        case()?;
    }
    measured(&mut case, count)
}

/// Valgrind counts from where this is entered to where it is left, in this thread: it goes by the name.
#[inline(never)]
fn measured(case: &mut cases::Case, count: u32) -> anyhow::Result<()> {
    for _ in 0..count {
        case()?;
    }
    Ok(())
}
