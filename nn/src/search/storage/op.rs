//! The records of Optuna's journal.
//!
//! One JSON object per line with an operation's code and the worker who wrote it. Studies are numbered
//! in the order of their creation, trials in that of all trials of the journal.

use serde_json::{Map, Value as Json, json};

use super::json;
use crate::search::distribution::{Choice, Distribution, ONE_MINUS, Param, Value};
use crate::search::record::{Direction, State, TrialRecord};

/// One change of the storage.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    CreateStudy {
        name: String,
        directions: Vec<Direction>,
    },
    DeleteStudy {
        study: u64,
    },
    StudyAttr {
        study: u64,
        user: bool,
        key: String,
        value: Json,
    },
    CreateTrial {
        study: u64,
        trial: Box<TrialRecord>,
    },
    Param {
        trial: u64,
        param: Param,
    },
    State {
        trial: u64,
        state: State,
        value: Option<f64>,
        time: Option<String>,
    },
    Report {
        trial: u64,
        step: i64,
        value: f64,
    },
    TrialAttr {
        trial: u64,
        user: bool,
        key: String,
        value: Json,
    },
    /// Known to other tuners only, and without effect for Optuna.
    Discard,
}

const STATES: [State; 5] =
    [State::Running, State::Complete, State::Pruned, State::Failed, State::Waiting];

pub(crate) fn code(state: State) -> usize {
    STATES.iter().position(|&other| other == state).unwrap_or(0)
}

impl Op {
    /// The line of a journal, without its end.
    pub(crate) fn write(&self, worker: &str) -> String {
        let (code, mut fields) = match self {
            Self::CreateStudy { name, directions } => {
                let directions: Vec<u8> =
                    directions.iter().map(|d| 1 + u8::from(*d == Direction::Maximize)).collect();
                (0, json!({"study_name": name, "directions": directions}))
            }
            Self::DeleteStudy { study } => (1, json!({"study_id": study})),
            Self::StudyAttr { study, user, key, value } => {
                let (code, field) = if *user { (2, "user_attr") } else { (3, "system_attr") };
                (code, json!({"study_id": study, field: {key: value}}))
            }
            Self::CreateTrial { study, trial } => (4, write_trial(*study, trial)),
            Self::Param { trial, param } => {
                let (name, distribution) = write_distribution(param);
                let kept = json::number(param.kept);
                let mut fields = json!({"trial_id": trial, "param_name": name});
                fields["param_value_internal"] = kept;
                fields["distribution"] = Json::from(distribution);
                (5, fields)
            }
            Self::State { trial, state, value, time } => {
                let values = value.map(|value| vec![json::number(value)]);
                let mut fields = json!({"trial_id": trial, "state": self::code(*state)});
                fields["values"] = values.into();
                match state {
                    State::Running => fields["datetime_start"] = time.clone().into(),
                    state if state.is_finished() => {
                        fields["datetime_complete"] = time.clone().into()
                    }
                    _ => {}
                }
                (6, fields)
            }
            Self::Report { trial, step, value } => {
                let value = json::number(*value);
                (7, json!({"trial_id": trial, "step": step, "intermediate_value": value}))
            }
            Self::TrialAttr { trial, user, key, value } => {
                let (code, field) = if *user { (8, "user_attr") } else { (9, "system_attr") };
                (code, json!({"trial_id": trial, field: {key: value}}))
            }
            Self::Discard => (10, json!({})),
        };
        fields["op_code"] = code.into();
        fields["worker_id"] = worker.into();
        json::write(&fields)
    }

    /// Reads a line.
    pub(crate) fn read(line: &str) -> Result<Self, String> {
        let record = json::read(line).map_err(|error| error.to_string())?;
        match whole(&record, "op_code")? {
            code @ 0..4 => Self::read_study(code, &record),
            4 => {
                let trial = Box::new(read_trial(&record)?);
                Ok(Self::CreateTrial { study: whole(&record, "study_id")?, trial })
            }
            code @ 5..10 => Self::read_trial_change(code, &record),
            10 => Ok(Self::Discard),
            code => Err(format!("operation {code}")),
        }
    }

    fn read_study(code: u64, record: &Json) -> Result<Self, String> {
        if code == 0 {
            let name = text(record, "study_name")?;
            let directions = list(record, "directions")?.iter().map(|d| match d.as_u64() {
                Some(1) => Ok(Direction::Minimize),
                Some(2) => Ok(Direction::Maximize),
                _ => Err(format!("direction {d}")),
            });
            return Ok(Self::CreateStudy {
                name,
                directions: directions.collect::<Result<_, _>>()?,
            });
        }
        let study = whole(record, "study_id")?;
        if code == 1 {
            return Ok(Self::DeleteStudy { study });
        }
        let (key, value) = attr(record, code == 2)?;
        Ok(Self::StudyAttr { study, user: code == 2, key, value })
    }

    fn read_trial_change(code: u64, record: &Json) -> Result<Self, String> {
        let trial = whole(record, "trial_id")?;
        let number = |field: &str| {
            let value = record.get(field).and_then(json::as_number);
            value.ok_or_else(|| format!("no number `{field}`"))
        };
        Ok(match code {
            5 => {
                let (name, distribution) =
                    (text(record, "param_name")?, text(record, "distribution")?);
                let param = read_param(&name, &distribution, number("param_value_internal")?)?;
                Self::Param { trial, param }
            }
            6 => {
                let state = read_state(record.get("state"))?;
                let value = record.get("values").and_then(Json::as_array);
                let value = value.and_then(|values| values.first()).and_then(json::as_number);
                let times = ["datetime_start", "datetime_complete"];
                let time = times.iter().find_map(|field| record.get(*field)?.as_str());
                Self::State { trial, state, value, time: time.map(str::to_owned) }
            }
            7 => {
                let step = record.get("step").and_then(Json::as_i64).ok_or("no step")?;
                Self::Report { trial, step, value: number("intermediate_value")? }
            }
            code => {
                let (key, value) = attr(record, code == 8)?;
                Self::TrialAttr { trial, user: code == 8, key, value }
            }
        })
    }
}

fn attr(record: &Json, user: bool) -> Result<(String, Json), String> {
    let field = record.get(if user { "user_attr" } else { "system_attr" });
    let map = field.and_then(Json::as_object).ok_or("no attribute")?;
    let (key, value) = map.iter().next().ok_or("an empty attribute")?;
    Ok((key.clone(), json::plain(value)))
}

fn whole(record: &Json, field: &str) -> Result<u64, String> {
    record.get(field).and_then(Json::as_u64).ok_or_else(|| format!("no number `{field}`"))
}

fn text(record: &Json, field: &str) -> Result<String, String> {
    let text = record.get(field).and_then(Json::as_str);
    text.map(str::to_owned).ok_or_else(|| format!("no text `{field}`"))
}

fn list<'a>(record: &'a Json, field: &str) -> Result<&'a Vec<Json>, String> {
    record.get(field).and_then(Json::as_array).ok_or_else(|| format!("no list `{field}`"))
}

fn read_state(state: Option<&Json>) -> Result<State, String> {
    state_of(state.and_then(Json::as_u64).ok_or("no state")?)
}

/// The state with that number.
pub(crate) fn state_of(code: u64) -> Result<State, String> {
    STATES.get(code as usize).copied().ok_or_else(|| format!("state {code}"))
}

fn write_trial(study: u64, trial: &TrialRecord) -> Json {
    let (mut params, mut distributions) = (Map::new(), Map::new());
    for param in &trial.params {
        let (name, distribution) = write_distribution(param);
        params.insert(name.clone(), json::number(param.kept));
        distributions.insert(name, distribution.into());
    }
    let reports =
        trial.reports.iter().map(|(step, value)| (step.to_string(), json::number(*value)));
    let mut record = json!({
        "study_id": study, "state": code(trial.state), "datetime_start": trial.started,
        "params": params, "distributions": distributions,
        "user_attrs": trial.user_attrs, "system_attrs": trial.system_attrs,
    });
    record["value"] = trial.value.map(json::number).into();
    record["values"] = Json::Null;
    record["intermediate_values"] = Json::Object(reports.collect());
    if trial.state.is_finished() {
        record["datetime_complete"] = trial.ended.clone().into();
    }
    record
}

fn read_trial(record: &Json) -> Result<TrialRecord, String> {
    let state = record.get("state").map_or(Ok(State::Running), |state| read_state(Some(state)))?;
    let mut trial = TrialRecord::new(0, state);
    let map = |field: &str| record.get(field).and_then(Json::as_object);
    for (name, kept) in map("params").into_iter().flatten() {
        let distribution = map("distributions").and_then(|all| all.get(name)?.as_str());
        let distribution = distribution.ok_or_else(|| format!("no distribution of `{name}`"))?;
        let kept = json::as_number(kept).ok_or_else(|| format!("no value of `{name}`"))?;
        trial.set_param(read_param(name, distribution, kept)?);
    }
    for (step, value) in map("intermediate_values").into_iter().flatten() {
        let step = step.parse().map_err(|_| format!("step {step}"))?;
        trial.reports.insert(step, json::as_number(value).ok_or("no intermediate value")?);
    }
    let attrs = |field: &str| {
        map(field)
            .map(|all| all.iter().map(|(key, value)| (key.clone(), json::plain(value))).collect())
    };
    trial.user_attrs = attrs("user_attrs").unwrap_or_default();
    trial.system_attrs = attrs("system_attrs").unwrap_or_default();
    let first = record.get("values").and_then(Json::as_array).and_then(|values| values.first());
    trial.value = record.get("value").and_then(json::as_number).or(first.and_then(json::as_number));
    let time = |field: &str| record.get(field).and_then(Json::as_str).map(str::to_owned);
    (trial.started, trial.ended) = (time("datetime_start"), time("datetime_complete"));
    Ok(trial)
}

/// The name and the distribution as they stand in a journal.
pub(crate) fn write_distribution(param: &Param) -> (String, String) {
    let float = |low: f64, high: f64, log: bool, step: Option<f64>| {
        let attributes = json!({"step": step, "low": low, "high": high, "log": log});
        json!({"name": "FloatDistribution", "attributes": attributes})
    };
    let mut name = param.name.clone();
    let json = match &param.distribution {
        Distribution::Float { low, high, log, step } => float(*low, *high, *log, *step),
        Distribution::OneMinus { low, high } => {
            name.insert_str(0, ONE_MINUS);
            float(1.0 - high, 1.0 - low, true, None)
        }
        Distribution::Int { low, high, log, step } => {
            let attributes = json!({"log": log, "step": step, "low": low, "high": high});
            json!({"name": "IntDistribution", "attributes": attributes})
        }
        Distribution::Choice(choices) => {
            let choices: Vec<Json> = choices.iter().map(write_choice).collect();
            json!({"name": "CategoricalDistribution", "attributes": {"choices": choices}})
        }
    };
    (name, json::write(&json))
}

fn write_choice(choice: &Choice) -> Json {
    match choice {
        Choice::Null => Json::Null,
        Choice::Bool(value) => Json::from(*value),
        Choice::Int(value) => Json::from(*value),
        Choice::Float(value) => json::number(*value),
        Choice::Text(value) => Json::from(value.as_str()),
    }
}

fn read_choice(json: &Json) -> Result<Choice, String> {
    Ok(match json {
        Json::Null => Choice::Null,
        Json::Bool(value) => Choice::Bool(*value),
        Json::Number(number) if number.is_i64() => Choice::Int(number.as_i64().unwrap_or(0)),
        other => match (json::as_number(other), other) {
            (Some(value), _) => Choice::Float(value),
            (None, Json::String(text)) => Choice::Text(text.clone()),
            _ => return Err(format!("choice {other}")),
        },
    })
}

pub(crate) fn read_param(name: &str, distribution: &str, kept: f64) -> Result<Param, String> {
    let json = json::read(distribution).map_err(|error| error.to_string())?;
    let attributes = json.get("attributes").ok_or("a distribution without attributes")?;
    let log = attributes.get("log").and_then(Json::as_bool).unwrap_or(false);
    let float = |field: &str| attributes.get(field).and_then(json::as_number);
    let bound = |field: &str| float(field).ok_or_else(|| format!("`{name}` without `{field}`"));
    let int = |field: &str| {
        let value = attributes.get(field).and_then(Json::as_i64);
        value.ok_or_else(|| format!("`{name}` without a whole `{field}`"))
    };
    let mut name = name.to_owned();
    let distribution = match text(&json, "name")?.as_str() {
        "FloatDistribution" => match name.strip_prefix(ONE_MINUS) {
            Some(rest) if log && bound("high")? <= 1.0 && !rest.is_empty() => {
                let (low, high) = (1.0 - bound("high")?, 1.0 - bound("low")?);
                name = rest.to_owned();
                Distribution::OneMinus { low, high }
            }
            _ => {
                let (low, high) = (bound("low")?, bound("high")?);
                Distribution::Float { low, high, log, step: float("step") }
            }
        },
        "IntDistribution" => {
            let step = if attributes.get("step").is_some() { int("step")? } else { 1 };
            Distribution::Int { low: int("low")?, high: int("high")?, log, step }
        }
        "CategoricalDistribution" => {
            let choices = list(attributes, "choices")?.iter().map(read_choice);
            Distribution::Choice(choices.collect::<Result<_, _>>()?)
        }
        other => return Err(format!("distribution `{other}`")),
    };
    Ok(Param { name, distribution, kept })
}

/// A value as Python would have it.
pub(crate) fn write_value(value: &Value) -> Json {
    match value {
        Value::Float(value) => json::number(*value),
        Value::Int(value) => Json::from(*value),
        Value::Choice(choice) => write_choice(choice),
    }
}

/// The number kept for such a value.
pub(crate) fn keep_value(json: &Json, distribution: &Distribution) -> Option<f64> {
    let value = match distribution {
        Distribution::Choice(_) => Value::Choice(read_choice(json).ok()?),
        _ => Value::Float(json::as_number(json)?),
    };
    distribution.keep(&value)
}

/// Hyperparameters with their ranges.
pub(crate) fn write_params(params: &[Param]) -> Json {
    let one = |param: &Param| {
        let (name, distribution) = write_distribution(param);
        json!([name, json::number(param.kept), distribution])
    };
    params.iter().map(one).collect()
}

/// What [`write_params`] wrote.
pub(crate) fn read_params(json: &Json) -> Result<Vec<Param>, String> {
    let one = |entry: &Json| {
        let (name, kept) = (entry[0].as_str(), json::as_number(&entry[1]));
        let (name, kept) = name.zip(kept).ok_or("a hyperparameter without name or value")?;
        read_param(name, entry[2].as_str().ok_or("no distribution")?, kept)
    };
    json.as_array().ok_or("no list of hyperparameters")?.iter().map(one).collect()
}
