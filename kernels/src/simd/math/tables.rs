//! The constants of the elementary functions, per type. The polynomials and the split of ln 2 are
//! printed by `docs/derivations/elementary.py`.

/// Constants of the elementary functions.
pub trait Tables: Sized + 'static {
    /// log2 e.
    const LOG2_E: Self;
    /// The leading bits of ln 2, few enough for products with exponents to be exact.
    const LN_2_HI: Self;
    /// ln 2 - `LN_2_HI`.
    const LN_2_LO: Self;
    /// √2.
    const SQRT_2: Self;
    /// Below this e^x rounds to 0.
    const EXP_LOW: Self;
    /// From here on e^x is normal.
    const EXP_LOW_NORMAL: Self;
    /// Above this e^x rounds to +∞.
    const EXP_HIGH: Self;
    /// q in e^r = 1 + r + r² q(r), lowest coefficient first.
    const EXP_REST: &'static [Self];
    /// p in ln(1 + f) = f - f²/2 + f³ p(f), lowest coefficient first.
    const LN_REST: &'static [Self];
    /// t in tanh x = x + x³ t(x²) for |x| < 5/8, lowest coefficient first.
    const TANH_REST: &'static [Self];
    /// Above half of this tanh rounds to 1.
    const TANH_HIGH: Self;
    /// 5/8.
    const TANH_NEAR: Self;
    /// The smallest positive value.
    const TINY: Self;
    /// A power of two that makes every subnormal value normal.
    const LIFT: Self;
    /// log2 of `LIFT`.
    const LIFT_EXPONENT: Self;
}

impl Tables for f32 {
    const LOG2_E: Self = std::f32::consts::LOG2_E;
    const LN_2_HI: Self = 0.69314575;
    const LN_2_LO: Self = 1.4286068e-06;
    const SQRT_2: Self = std::f32::consts::SQRT_2;
    // ln of half the smallest subnormal is -103.97, of the smallest normal value -87.337, of the
    // largest finite value 88.72.
    const EXP_LOW: Self = -104.0;
    const EXP_LOW_NORMAL: Self = -87.33;
    const EXP_HIGH: Self = 89.0;
    const EXP_REST: &'static [Self] =
        &[0.499_999_94, 0.166_665_21, 0.041_668_39, 0.008_368_727, 0.001_381_457_4];
    const LN_REST: &'static [Self] = &[
        0.333_333_13,
        -0.249_999_84,
        0.200_021_88,
        -0.166_694_83,
        0.142_171_17,
        -0.123_774_87,
        0.118_887_99,
        -0.118_467_35,
        0.069_372_93,
    ];
    const TANH_REST: &'static [Self] =
        &[-0.3333328, 0.13331442, -0.053739715, 0.020639092, -0.0057049906];
    const TANH_HIGH: Self = 20.0;
    const TANH_NEAR: Self = 0.625;
    const TINY: Self = Self::from_bits(1);
    const LIFT: Self = 8_388_608.0;
    const LIFT_EXPONENT: Self = 23.0;
}

impl Tables for f64 {
    const LOG2_E: Self = std::f64::consts::LOG2_E;
    const LN_2_HI: Self = 0.6931471805598903;
    const LN_2_LO: Self = 5.497923018708371e-14;
    const SQRT_2: Self = std::f64::consts::SQRT_2;
    // ln of half the smallest subnormal is -745.13, of the smallest normal value -708.396, of the
    // largest finite value 709.78.
    const EXP_LOW: Self = -746.0;
    const EXP_LOW_NORMAL: Self = -708.39;
    const EXP_HIGH: Self = 710.0;
    const EXP_REST: &'static [Self] = &[
        0.5000000000000011,
        0.16666666666666413,
        0.04166666666653001,
        0.008333333333494649,
        0.001388888894367607,
        0.00019841269506277274,
        2.4801493045990847e-05,
        2.7557586546067747e-06,
        2.7630268922332555e-07,
        2.5000038775178174e-08,
    ];
    const LN_REST: &'static [Self] = &[
        0.33333333333333454,
        -0.2499999999999892,
        0.19999999999946141,
        -0.16666666666914368,
        0.14285714293840404,
        -0.12499999982020549,
        0.1111111051610254,
        -0.10000000383231464,
        0.09090933503927333,
        -0.08333345760374214,
        0.07691714507143169,
        -0.07142000083140389,
        0.0667514787783042,
        -0.06269800841516092,
        0.058177824009459214,
        -0.053267813628042296,
        0.05415966276370532,
        -0.06275033055138957,
        0.05696854667636448,
        -0.024276111301409675,
    ];
    const TANH_REST: &'static [Self] = &[
        -0.33333333333333326,
        0.1333333333333096,
        -0.053968253966548425,
        0.02186948847825988,
        -0.008863234415782848,
        0.0035921146454788093,
        -0.0014557281608975298,
        0.0005894544450821249,
        -0.00023700338023557605,
        9.152031430053563e-05,
        -3.0128719337858648e-05,
        6.009151910975283e-06,
    ];
    const TANH_HIGH: Self = 40.0;
    const TANH_NEAR: Self = 0.625;
    const TINY: Self = Self::from_bits(1);
    const LIFT: Self = 4_503_599_627_370_496.0;
    const LIFT_EXPONENT: Self = 52.0;
}
