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
    /// m in e^r - 1 = r + r² m(r), lowest coefficient first.
    const EXPM1_REST: &'static [Self];
    /// Below this e^x - 1 rounds to -1.
    const EXPM1_LOW: Self;
    /// Below this x e^x rounds to 0.
    const SILU_LOW: Self;
    /// The exponent of the smallest normal value.
    const EXPONENT_LOW: Self;
    /// s in erf x = x + x s(x²) for |x| < 1, lowest coefficient first.
    const ERF_REST: &'static [Self];
    /// w in erf x = 1 - e^-w(x) for x from 1 to `ERF_HIGH`, lowest coefficient first.
    const ERF_FAR: &'static [Self];
    /// From here on erf rounds to 1.
    const ERF_HIGH: Self;
    /// g in x Φ(-x) = t g(t - `GELU_CENTRE`) e^(-x²/2) with t = x / (x + `GELU_SHIFT`), lowest coefficient
    /// first.
    const GELU_TAIL: &'static [Self];
    /// The middle of what t can be, about.
    const GELU_CENTRE: Self;
    /// See `GELU_TAIL`.
    const GELU_SHIFT: Self;
    /// Above this x Φ(-x) rounds to 0.
    const GELU_ZERO: Self;
    /// Up to here e^(-x²/2) is normal.
    const GELU_FLAT: Self;
    /// A power of two; x rounded to multiples of its inverse has an exact square up to `GELU_ZERO`.
    const GELU_GRID: Self;
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
    const EXPM1_REST: &'static [Self] =
        &[0.49999997, 0.16666543, 0.0416672, 0.00836653, 0.0013882519];
    const EXPM1_LOW: Self = -18.0;
    const SILU_LOW: Self = -109.0;
    const EXPONENT_LOW: Self = -126.0;
    const ERF_REST: &'static [Self] = &[
        0.12837917,
        -0.37612626,
        0.112835854,
        -0.026853811,
        0.0051883277,
        -0.00080101937,
        7.853862e-05,
    ];
    const ERF_FAR: &'static [Self] = &[
        0.0002270645,
        1.1278423,
        0.63623923,
        0.105589285,
        -0.023665195,
        0.0037143293,
        -0.00035721535,
        1.5662454e-05,
    ];
    const ERF_HIGH: Self = 4.0;
    const GELU_TAIL: &'static [Self] = &[
        0.9556227,
        -1.8371845,
        2.7342985,
        -3.0938272,
        2.5038114,
        -1.1875561,
        -0.025935704,
        0.4243441,
        -0.1266493,
        -0.1025253,
    ];
    const GELU_CENTRE: Self = 0.375;
    const GELU_SHIFT: Self = 4.5;
    const GELU_ZERO: Self = 14.5;
    const GELU_FLAT: Self = 13.2;
    const GELU_GRID: Self = 128.0;
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
    const EXPM1_REST: &'static [Self] = &[
        0.5000000000000006,
        0.16666666666666588,
        0.04166666666657665,
        0.008333333333389604,
        0.0013888888931601292,
        0.00019841269718924972,
        2.4801505227078308e-05,
        2.7557407575273382e-06,
        2.762605747413129e-07,
        2.505378021793452e-08,
    ];
    const EXPM1_LOW: Self = -38.0;
    const SILU_LOW: Self = -752.0;
    const EXPONENT_LOW: Self = -1022.0;
    const ERF_REST: &'static [Self] = &[
        0.1283791670955126,
        -0.3761263890318379,
        0.11283791670956275,
        -0.026866170645273905,
        0.005223977626377789,
        -0.0008548327057235215,
        0.0001205533355910763,
        -1.4925648010394581e-05,
        1.6461770863985435e-06,
        -1.6357834989911688e-07,
        1.4706795417801246e-08,
        -1.154296478644737e-09,
        6.228099069533823e-11,
    ];
    const ERF_FAR: &'static [Self] = &[
        -3.3636629553523924e-08,
        1.12837962019141,
        0.6366169584068478,
        0.10278340080822183,
        -0.019157318136993166,
        -0.00015176330644069773,
        0.0016077132462389444,
        -0.00048168178045228014,
        -8.164898714162537e-05,
        0.0001516376180196009,
        -8.763672514547795e-05,
        3.4789509517720484e-05,
        -1.0749014786934833e-05,
        2.696021575473735e-06,
        -5.577447677378873e-07,
        9.554379860013297e-08,
        -1.350527256787373e-08,
        1.5602048944758089e-09,
        -1.4496669255080602e-10,
        1.057018805107225e-11,
        -5.823313801577337e-13,
        2.278169315021395e-14,
        -5.638032689389263e-16,
        6.6329632574903e-18,
    ];
    const ERF_HIGH: Self = 6.0;
    const GELU_TAIL: &'static [Self] = &[
        0.8685598678961582,
        -1.6762652992465665,
        2.7839295937503503,
        -3.960088467810575,
        4.7679816785697495,
        -4.747239063606926,
        3.7304094736478155,
        -2.0650881639167933,
        0.4840786618530215,
        0.3724819087498935,
        -0.40873155163857844,
        0.0662912973227271,
        0.14437099391132713,
        -0.08426648719233107,
        -0.04216748482359608,
        0.0519623349856148,
        0.01191001753958318,
        -0.028905233867040074,
        -0.0038785872690218896,
        0.014991385225909733,
        0.0014602699541062965,
        -0.005404434869663524,
        -0.0002777142314920692,
    ];
    const GELU_CENTRE: Self = 0.4375;
    const GELU_SHIFT: Self = 5.5;
    const GELU_ZERO: Self = 38.7;
    const GELU_FLAT: Self = 37.64;
    const GELU_GRID: Self = 1_048_576.0;
    const TINY: Self = Self::from_bits(1);
    const LIFT: Self = 4_503_599_627_370_496.0;
    const LIFT_EXPONENT: Self = 52.0;
}
