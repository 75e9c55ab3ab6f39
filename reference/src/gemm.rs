//! Matrix product as nested loops: `c[i][j] = sum over p of a[i][p] * b[p][j]`, row-major.

/// C (m, n) = op(A) (m, k) * op(B) (k, n); a transposed operand is stored as (k, m) or (n, k).
pub fn gemm(m: usize, n: usize, k: usize, transpose_a: bool, transpose_b: bool, a: &[f64], b: &[f64]) -> Vec<f64> {
    let mut c = vec![0.0; m * n];
    for i in 0..m {
        for j in 0..n {
            for p in 0..k {
                let a = if transpose_a { a[p * m + i] } else { a[i * k + p] };
                let b = if transpose_b { b[j * k + p] } else { b[p * n + j] };
                c[i * n + j] += a * b;
            }
        }
    }
    c
}
