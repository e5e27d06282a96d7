//! Where the backward pass writes what is as large as its input.

/// The gradient of the input and, where there is a residual, that of the residual, in the same form.
pub(super) struct Outputs<W> {
    pub(super) dx: W,
    pub(super) dr: Option<W>,
}

impl<W> Outputs<W> {
    /// What `to` makes of each.
    #[inline(always)]
    pub(super) fn map<X>(self, mut to: impl FnMut(W) -> X) -> Outputs<X> {
        Outputs { dx: to(self.dx), dr: self.dr.map(to) }
    }

    /// What `to` makes of each, borrowed.
    #[inline(always)]
    pub(super) fn each_mut<'a, X>(&'a mut self, mut to: impl FnMut(&'a mut W) -> X) -> Outputs<X> {
        Outputs { dx: to(&mut self.dx), dr: self.dr.as_mut().map(to) }
    }

    /// Each cut in two.
    #[inline(always)]
    pub(super) fn split(self, mut cut: impl FnMut(W) -> (W, W)) -> (Self, Self) {
        let (dx, dx_rest) = cut(self.dx);
        let (dr, dr_rest) = self.dr.map(cut).unzip();
        (Self { dx, dr }, Self { dx: dx_rest, dr: dr_rest })
    }
}
