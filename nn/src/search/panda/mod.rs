//! One model watched closely.

mod input;
mod nudge;
mod page;

use std::fs::{File, OpenOptions};
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;

use tilewise_kernels::Float;

use crate::error::{Error, Result};
use crate::optim::Dials;
use crate::train::{Callback, Session, Snapshot};
use input::{Control, listen};
pub use nudge::{Change, Nudge, Nudged};

/// Watches over one long training: shows its learning curve while it runs, takes nudges from a file or
/// from the keyboard, keeps states to go back to, and notes everything so that the same training can be
/// run again, bit for bit.
///
/// ```
/// use tilewise_nn::prelude::*;
/// use tilewise_nn::search::Panda;
///
/// let data = digits()?;
/// let mut model = Sequential::new().linear(64, 10).build(1)?;
/// let mut panda = Panda::new().at(30, "keep good")?.at(31, "learning_rate *100")?.at(40, "back good")?;
/// Trainer::new(Sgd::momentum(0.9)).epochs(3).fit_with(&mut model, &data, &data, &mut [&mut panda])?;
///
/// let mut undisturbed = Sequential::new().linear(64, 10).build(1)?;
/// Trainer::new(Sgd::momentum(0.9)).epochs(3).fit(&mut undisturbed, &data, &data)?;
/// assert_eq!(model.predict(data.features())?, undisturbed.predict(data.features())?);
/// # Ok::<(), tilewise_nn::Error>(())
/// ```
///
/// What can be asked for is told at [`Nudge`]. A nudge that cannot be done, such as a momentum for an
/// optimiser without one, is noted as refused and changes nothing.
#[derive(Debug)]
#[must_use]
pub struct Panda<T: Float = f32> {
    control: Option<Control>,
    typed: Option<Receiver<String>>,
    journal: Option<PathBuf>,
    page: Option<PathBuf>,
    rescue: Option<(f64, u32)>,
    /// What is to come at a moment that is known, soonest first.
    script: Vec<Nudged>,
    done: Vec<Nudged>,
    kept: Vec<(String, Snapshot<T>)>,
    moment: u64,
    curve: page::Curve,
}

impl<T: Float> Default for Panda<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Float> Panda<T> {
    /// Watches only, until it is told where nudges come from. The state before the first step is kept
    /// as `start`.
    pub fn new() -> Self {
        Self {
            control: None,
            typed: None,
            journal: None,
            page: None,
            rescue: None,
            script: Vec::new(),
            done: Vec::new(),
            kept: Vec::new(),
            moment: 0,
            curve: page::Curve::default(),
        }
    }

    /// Takes nudges from lines that are added to the file at `path` from now on.
    ///
    /// # Errors
    /// If the file is there and cannot be read.
    pub fn control(self, path: impl AsRef<Path>) -> Result<Self> {
        Ok(Self { control: Some(Control::new(path.as_ref())?), ..self })
    }

    /// Takes nudges from lines that come in, such as keys with Enter: `BufReader::new(stdin())`.
    pub fn keys(self, input: impl BufRead + Send + 'static) -> Self {
        Self { typed: Some(listen(input)), ..self }
    }

    /// Adds every nudge to the journal at `path`, from which [`replay`](Self::replay) makes the same
    /// training again.
    pub fn journal(self, path: impl AsRef<Path>) -> Self {
        Self { journal: Some(path.as_ref().to_owned()), ..self }
    }

    /// Draws the learning curve into the HTML file at `path`, which shows itself anew every two
    /// seconds as long as the training runs.
    pub fn page(self, path: impl AsRef<Path>) -> Self {
        Self { page: Some(path.as_ref().to_owned()), ..self }
    }

    /// Goes back to the newest state that was kept when the training diverges, with the learning rate
    /// of that state times `factor`, and with its square the next time; at most `times`.
    ///
    /// # Errors
    /// If `factor` is not between 0 and 1.
    pub fn rescue(self, factor: f64, times: u32) -> Result<Self> {
        if !(factor > 0.0 && factor < 1.0) {
            return Err(Error::argument("factor of a rescue", "between 0 and 1", factor));
        }
        Ok(Self { rescue: Some((factor, times)), ..self })
    }

    /// Asks for a nudge after the step `moment`, counted from 1 with those that were undone.
    ///
    /// # Errors
    /// If `line` is not a [`Nudge`].
    pub fn at(mut self, moment: u64, line: &str) -> Result<Self> {
        let nudge: Nudge = line.parse()?;
        let due = Nudged { moment, diverged: false, steps: 0, nudge, refused: None };
        let place = self.script.partition_point(|other| other.moment <= moment);
        self.script.insert(place, due);
        Ok(self)
    }

    /// Does again what the journal at `path` tells. With the same trainer, model and data, the same
    /// training comes of it.
    ///
    /// # Errors
    /// If the file cannot be read or is not such a journal.
    pub fn replay(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(|error| Error::io(path, error))?;
        let mut script = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let nudged = Nudged::read(line).map_err(|got| {
                let (file, line) = (path.display().to_string(), format!("line {}", number + 1));
                Error::format(&file, line, "a nudge", got)
            })?;
            if nudged.refused.is_none() {
                script.push(nudged);
            }
        }
        Ok(Self { script, ..Self::new() })
    }

    /// All nudges so far.
    pub fn nudges(&self) -> &[Nudged] {
        &self.done
    }

    /// Does what is due.
    fn look(&mut self, session: &mut Session<'_, T>, diverged: bool) -> Result<()> {
        let due = |next: &Nudged| (next.moment, next.diverged) <= (self.moment, diverged);
        let count = self.script.iter().take_while(|next| due(next)).count();
        let mut nudges: Vec<Nudge> = self.script.drain(..count).map(|next| next.nudge).collect();
        let mut lines = self.control.as_mut().map_or(Ok(Vec::new()), Control::lines)?;
        lines.extend(self.typed.iter().flat_map(Receiver::try_iter));
        for line in lines.iter().filter(|line| !line.trim().is_empty()) {
            match line.parse() {
                Ok(nudge) => nudges.push(nudge),
                Err(error) => eprintln!("panda: {error}"),
            }
        }
        nudges.into_iter().try_for_each(|nudge| self.nudge(session, nudge, diverged))
    }

    fn nudge(&mut self, session: &mut Session<'_, T>, nudge: Nudge, diverged: bool) -> Result<()> {
        let refused = self.act(session, &nudge).err().map(|error| error.to_string());
        if let Some(reason) = &refused {
            eprintln!("panda: `{nudge}`: {reason}");
        }
        let (moment, steps) = (self.moment, session.steps());
        let nudged = Nudged { moment, diverged, steps, nudge, refused };
        if let Some(path) = &self.journal {
            let file = OpenOptions::new().append(true).open(path);
            let written = file.and_then(|mut file| writeln!(file, "{}", nudged.write()));
            written.map_err(|error| Error::io(path, error))?;
        }
        self.done.push(nudged);
        Ok(())
    }

    fn act(&mut self, session: &mut Session<'_, T>, nudge: &Nudge) -> Result<()> {
        let now = session.dials();
        let missing = |what: &str| {
            Error::argument(what, "one that the optimizer has", "an optimizer without it")
        };
        let changed = |change: &Change, value: Option<f64>, what: &str| {
            Ok::<_, Error>(Some(change.of(value.ok_or_else(|| missing(what))?)))
        };
        let mut dials = Dials::default();
        match nudge {
            Nudge::LearningRate(change) => {
                dials.learning_rate = changed(change, now.learning_rate, "learning rate")?;
            }
            Nudge::Momentum(change) => dials.momentum = changed(change, now.momentum, "momentum")?,
            Nudge::WeightDecay(change) => {
                dials.weight_decay = changed(change, now.weight_decay, "weight decay")?;
            }
            Nudge::Keep(name) => {
                self.kept.retain(|(other, _)| other != name);
                self.kept.push((name.clone(), session.snapshot()));
                return Ok(());
            }
            Nudge::Back(name) => {
                let mut kept = self.kept.iter().rev();
                let wanted = |kept: &&(String, _)| name.as_ref().is_none_or(|name| *name == kept.0);
                let found = kept.find(wanted).ok_or_else(|| {
                    let names = self.kept.iter().map(|(name, _)| name.as_str());
                    let expected = format!("one of: {}", names.collect::<Vec<_>>().join(", "));
                    Error::argument("state to go back to", expected, name.as_deref().unwrap_or(""))
                })?;
                session.restore(&found.1)?;
                self.curve.forget();
                return Ok(());
            }
            Nudge::Stop => {
                session.stop("asked to");
                return Ok(());
            }
        }
        session.turn(dials)
    }

    fn draw(&self, session: &Session<'_, T>, runs: bool) -> Result<()> {
        match &self.page {
            Some(path) => self.curve.save(path, &self.done, session.steps(), runs),
            None => Ok(()),
        }
    }
}

impl<T: Float> Callback<T> for Panda<T> {
    fn begin(&mut self, session: &mut Session<'_, T>) -> Result<()> {
        self.kept.push(("start".to_owned(), session.snapshot()));
        if let Some(path) = &self.journal {
            // A journal is of one training.
            File::create(path).map_err(|error| Error::io(path, error))?;
        }
        self.draw(session, true)
    }

    fn step(&mut self, session: &mut Session<'_, T>) -> Result<()> {
        self.moment += 1;
        self.curve.step(self.moment, session.loss());
        self.look(session, false)
    }

    fn epoch(&mut self, session: &mut Session<'_, T>) -> Result<()> {
        if let Some(epoch) = session.history().epochs.last() {
            self.curve.epoch(self.moment, epoch.valid_loss);
        }
        self.draw(session, true)
    }

    fn diverged(&mut self, session: &mut Session<'_, T>, _: &Error) -> Result<()> {
        let before = self.done.len();
        self.look(session, true)?;
        let back = |nudged: &Nudged| matches!(nudged.nudge, Nudge::Back(_));
        if self.done[before..].iter().any(|nudged| back(nudged) && nudged.refused.is_none()) {
            return Ok(());
        }
        if let Some((factor, times)) = self.rescue.filter(|(_, times)| *times > 0) {
            let rescues = self.done.iter().filter(|nudged| nudged.diverged && back(nudged)).count();
            let factor_now = factor.powi(rescues as i32 + 1);
            self.rescue = Some((factor, times - 1));
            self.nudge(session, Nudge::Back(None), true)?;
            self.nudge(session, Nudge::LearningRate(Change::Times(factor_now)), true)?;
        }
        Ok(())
    }

    fn end(&mut self, session: &mut Session<'_, T>) -> Result<()> {
        self.draw(session, false)
    }
}
