//! Every operation against its naive twin on every available path, on cases drawn from random bytes:
//! the same bytes, and the same oracle, that the fuzz targets use.

use std::fmt::Debug;

use arbitrary::{Arbitrary, Unstructured};
use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, Strategy, any};
use proptest::test_runner::{FileFailurePersistence, RngSeed, TestCaseError, TestRunner};
use tilewise_kernels::Isa;
use tilewise_tests::checks;
use tilewise_tests::isas::{each_isa, each_isa_for_halves};

/// The cases of a usual run, always the same: what passed passes again, everywhere. To search among
/// others, set `PROPTEST_RNG_SEED` to a number and `PROPTEST_CASES` to more of them.
const SEED: u64 = 2026;

/// Draws `cases` cases for every path. A failure prints the shrunken case, its seed included, and
/// is kept beside this file, to be tried first the next time.
fn holds<C>(cases: u32, check: fn(Isa, &C) -> Result<(), String>)
where
    C: for<'a> Arbitrary<'a> + Debug,
{
    holds_on(|test| each_isa(test), cases, check);
}

/// The same on the paths that `each` goes through.
fn holds_on<C>(each: fn(&dyn Fn(Isa)), cases: u32, check: fn(Isa, &C) -> Result<(), String>)
where
    C: for<'a> Arbitrary<'a> + Debug,
{
    each(&|isa| {
        let kept = FileFailurePersistence::WithSource("regressions");
        // The environment has its say in this one.
        let usual = ProptestConfig::with_source_file(file!());
        let chosen = |variable| std::env::var_os(variable).is_some();
        let config = ProptestConfig {
            cases: if chosen("PROPTEST_CASES") { usual.cases } else { cases },
            rng_seed: match usual.rng_seed {
                RngSeed::Random => RngSeed::Fixed(SEED),
                fixed => fixed,
            },
            failure_persistence: Some(Box::new(kept)),
            ..usual
        };
        let bytes = vec(any::<u8>(), 0..128);
        let drawn = bytes.prop_map(|bytes| {
            C::arbitrary(&mut Unstructured::new(&bytes))
                .expect("exhausted bytes give the least case")
        });
        let outcome = TestRunner::new(config).run(&drawn, |case| {
            check(isa, &case).map_err(|finding| TestCaseError::fail(format!("on {isa}: {finding}")))
        });
        outcome.unwrap_or_else(|failure| panic!("{failure}"));
    });
}

#[test]
fn activations_match_their_twin() {
    holds(300, checks::activation::check);
}

#[test]
fn dropout_matches_its_twin() {
    holds(200, checks::dropout::check);
}

#[test]
fn products_match_their_twin() {
    holds(400, checks::gemm::check);
}

#[test]
fn products_of_halves_match_their_twin() {
    holds_on(|test| each_isa_for_halves(test), 300, checks::gemm::check_halves);
}

#[test]
fn products_at_other_precisions_match_their_twin() {
    holds_on(|test| each_isa_for_halves(test), 300, checks::gemm::check_precisions);
}

#[test]
fn elementary_functions_match_their_twin() {
    holds(300, checks::vector_math::check);
}

#[test]
fn batched_products_are_those_alone() {
    holds(300, checks::batched::check);
}

#[test]
fn conversions_match_their_twin() {
    holds(400, checks::convert::check);
}

#[test]
fn softmax_matches_its_twin() {
    holds(400, checks::softmax::check);
}

#[test]
fn cross_entropy_matches_its_twin() {
    holds(300, checks::cross_entropy::check);
}

#[test]
fn linear_cross_entropy_matches_its_twin() {
    holds(100, checks::linear_cross_entropy::check);
}

#[test]
fn sigmoid_cross_entropy_matches_its_twin() {
    holds(300, checks::sigmoid_cross_entropy::check);
}

#[test]
fn reductions_match_their_twin() {
    holds(150, checks::reduce::check);
}

#[test]
fn batch_norm_matches_its_twin() {
    holds(200, checks::batch_norm::check);
}

#[test]
fn batch_norm_of_halves_is_that_in_f32_rounded() {
    holds(100, checks::batch_norm_halves::check);
}

#[test]
fn optimizer_steps_match_their_twins() {
    holds(300, checks::optimizer::check);
}

#[test]
fn optimizer_state_in_bf16_is_that_in_f32_rounded() {
    holds(300, checks::optimizer_state::check);
}

#[test]
fn norms_of_many_tensors_match_their_twin() {
    holds(200, checks::global_norm::check);
}

#[test]
fn losses_of_regressions_match_their_twin() {
    holds(300, checks::regression::check);
}

#[test]
fn norms_of_rows_match_their_twin() {
    holds(300, checks::layer_norm::check);
}

#[test]
fn patches_match_their_twin() {
    holds(200, checks::im2col::check);
}

#[test]
fn pooling_matches_its_twin() {
    holds(100, checks::pool::check);
}
