//! Batched products: what is refused, and what threads must not change where each product is large.

use tilewise_kernels::*;

fn numbers(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 37 + seed * 11) % 64) as f32 / 8.0 - 4.0).collect()
}

/// The message of a batch of three products of 2 x 3 and 3 x 4, with these strides of A, B and C, into
/// slices of these lengths.
fn refused(strides: [usize; 3], lengths: [usize; 3]) -> String {
    let (a, b) = (numbers(lengths[0], 1), numbers(lengths[1], 2));
    let mut c = vec![7.0; lengths[2]];
    let one = Gemm::new(MatRef::new(&a, 2, 3).unwrap(), MatRef::new(&b, 3, 4).unwrap()).unwrap();
    let outcome = one.batched(3, [strides[0], strides[1]]).and_then(|batch| {
        batch.run(MatMut::new(&mut c, 2, 4).unwrap(), strides[2], Exec::serial())
    });
    assert!(c.iter().all(|&c| c == 7.0), "written although refused");
    outcome.unwrap_err().to_string()
}

#[test]
fn matrices_must_lie_inside_their_slices() {
    assert_eq!(
        refused([6, 12, 8], [17, 36, 24]),
        "batched gemm operand A: expected at least 18 elements for 3 of 2 x 3 at a stride of 6, \
         got 17 elements"
    );
    let message = refused([6, 13, 8], [18, 36, 24]);
    assert!(message.starts_with("batched gemm operand B: expected at least 38"), "{message}");
    let message = refused([0, 0, 9], [6, 12, 25]);
    assert!(message.starts_with("batched gemm output C: expected at least 26"), "{message}");
    let message = refused([usize::MAX, 0, 8], [6, 12, 24]);
    assert!(message.contains("a size that fits the address space"), "{message}");
}

#[test]
fn outputs_must_lie_apart() {
    for stride in [0, 1, 4, 7] {
        let message = refused([6, 12, stride], [18, 36, 24]);
        let start = "batched gemm output C: expected strides that keep its elements apart";
        assert!(message.starts_with(start), "{stride}: {message}");
    }
}

#[test]
fn a_packed_operand_is_shared() {
    let (a, b) = (numbers(6, 1), numbers(12, 2));
    let packed = PackedB::new(MatRef::new(&b, 3, 4).unwrap()).unwrap();
    let one = Gemm::with_packed(MatRef::new(&a, 2, 3).unwrap(), &packed).unwrap();
    let error = one.batched(1, [0, 12]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Stride);
    assert!(one.batched(4, [0, 0]).is_ok());
}

#[test]
fn the_output_has_the_shape_of_a_product() {
    let (a, b) = (numbers(6, 1), numbers(12, 2));
    let one = Gemm::new(MatRef::new(&a, 2, 3).unwrap(), MatRef::new(&b, 3, 4).unwrap()).unwrap();
    let mut c = vec![7.0; 8];
    let c = MatMut::new(&mut c, 4, 2).unwrap();
    let error = one.batched(1, [0, 0]).unwrap().run(c, 8, Exec::serial()).unwrap_err();
    assert_eq!(error.to_string(), "gemm output C: expected 2 x 4, got 4 x 2");
}

#[test]
fn an_empty_batch_writes_nothing() {
    let (a, b) = (numbers(6, 1), numbers(12, 2));
    let one = Gemm::new(MatRef::new(&a, 2, 3).unwrap(), MatRef::new(&b, 3, 4).unwrap()).unwrap();
    let mut c = vec![7.0; 8];
    let to = MatMut::new(&mut c, 2, 4).unwrap();
    one.batched(0, [6, 12]).unwrap().run(to, 8, Exec::default()).unwrap();
    assert_eq!(c, [7.0; 8]);
}

/// Two products that are worth several threads each, and many that are not.
#[test]
fn threads_do_not_show() {
    for (count, [m, n, k]) in [(2, [150, 260, 170]), (40, [40, 50, 60])] {
        let (a, b) = (numbers(count * m * k, 1), numbers(count * k * n, 2));
        let (a, b) = (MatRef::new(&a, m, k).unwrap(), MatRef::new(&b, k, n).unwrap());
        let batch = Gemm::new(a, b).unwrap().batched(count, [m * k, k * n]).unwrap();
        let run = |par: Par| {
            let mut c = vec![f32::NAN; count * m * n];
            let to = MatMut::new(&mut c, m, n).unwrap();
            batch.run(to, m * n, Exec::default().par(par)).unwrap();
            c
        };
        let serial = run(Par::Serial);
        let mut want = vec![0.0_f32; count * m * n];
        let to = MatMut::new(&mut want, m, n).unwrap();
        naive::batched_gemm(count, 1.0, (a, m * k), (b, k * n), 0.0, (to, m * n));
        // Multiples of 1/64 of this size add up exactly.
        assert!(serial == want, "{m} x {n} x {k}");
        for par in [Par::Threads(2), Par::Threads(7), Par::Auto] {
            assert!(run(par) == serial, "{m} x {n} x {k}, {par:?}");
        }
    }
}
