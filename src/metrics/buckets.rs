//! The bucket boundaries of every histogram, in the unit of its name.

/// Latency of calls and requests, in seconds. A development node answers in 60–90 µs, so the floor
/// is low.
pub const LATENCY: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0, 30.0,
];

/// Queries to a database, in seconds.
pub const DATABASE: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];

/// Sizes in bytes: 64·4ⁿ up to 16 MiB.
pub const SIZE: &[f64] = &[
    64.0,
    256.0,
    1_024.0,
    4_096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
];

/// What the proxies add, in seconds: 5 µs to 50 ms.
pub const OVERHEAD: &[f64] = &[
    0.000_005, 0.00001, 0.000_025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01,
    0.025, 0.05,
];

/// Gas units: a plain transfer to a whole mainnet block.
pub const GAS: &[f64] = &[
    21_000.0,
    50_000.0,
    100_000.0,
    200_000.0,
    500_000.0,
    1_000_000.0,
    2_000_000.0,
    5_000_000.0,
    10_000_000.0,
    30_000_000.0,
];

/// Submission to block, in seconds: automining development nodes to a congested chain.
pub const CONFIRMATION: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 12.0, 30.0, 60.0, 300.0,
];

/// Calls and queries within one request.
pub const WITHIN_REQUEST: &[f64] = &[0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0];

/// Calls in a batch, transactions in a block.
pub const COUNT: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0];

/// Amounts of which nothing more is known.
pub const AMOUNT: &[f64] =
    &[0.01, 0.1, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 1_000.0, 10_000.0, 100_000.0, 1_000_000.0];

/// Shares of one.
pub const RATIO: &[f64] = &[0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0];

/// How long a stream lasts, in seconds: a glance at a page to a working day.
pub const STREAM: &[f64] =
    &[0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 36_000.0];
