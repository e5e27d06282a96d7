//! The worker's side, for native libraries.

use std::io::{BufRead, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{Reply, Request, WARM_UP};
use crate::case::{Case, Implementation, Who, Workload};
use crate::cases;
use crate::measure::{Clock, warm_up};

/// Answers requests until the input ends. Without a version, whoever asks is told why.
///
/// # Errors
/// If the answers cannot be written.
pub fn serve(
    by: Implementation,
    version: Result<&str, String>,
    requests: impl BufRead,
    mut replies: impl Write,
) -> std::io::Result<()> {
    let mut workload = None;
    for line in requests.lines() {
        let reply = match serde_json::from_str(&line?) {
            Ok(request) => answer(by, &version, request, &mut workload),
            Err(error) => Reply::Error { error: format!("not a request: {error}") },
        };
        writeln!(replies, "{}", serde_json::to_string(&reply)?)?;
        replies.flush()?;
    }
    Ok(())
}

fn answer(
    by: Implementation,
    version: &Result<&str, String>,
    request: Request,
    workload: &mut Option<Box<dyn Workload>>,
) -> Reply {
    let version = match version {
        Ok(version) => *version,
        Err(why) => return Reply::Error { error: why.clone() },
    };
    match request {
        Request::Hello => {
            let name = Implementation { threads: 1, ..by }.to_string();
            let variants = vec![name.clone()];
            Reply::Hello { name, version: version.into(), variants }
        }
        Request::Prepare { case, .. } => {
            *workload = None;
            let Some(case) = cases::find(&case).filter(|case| knows(by, case)) else {
                return Reply::Absent { absent: format!("{by} does not do {case}") };
            };
            match prepare(&case, by) {
                Ok(ready) => *workload = Some(ready),
                Err(error) => return Reply::Error { error },
            }
            Reply::Done { ok: true }
        }
        Request::Time { calls } => match workload {
            Some(workload) => {
                warm_up(WARM_UP, || workload.run(by));
                let all = || (0..calls).for_each(|_| workload.run(by));
                Reply::Time { seconds: Clock::of(by.threads).time(all) }
            }
            None => Reply::Error { error: "asked for a time before a case".into() },
        },
        Request::Drop => {
            *workload = None;
            Reply::Done { ok: true }
        }
    }
}

fn knows(by: Implementation, case: &Case) -> bool {
    match by.who {
        Who::Native(native) => native.knows(&case.id),
        _ => case.implementations(by.threads).contains(&by),
    }
}

fn prepare(case: &Case, by: Implementation) -> Result<Box<dyn Workload>, String> {
    let mut workload = case.prepare();
    let verified = catch_unwind(AssertUnwindSafe(|| workload.verify(by)));
    verified.map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("its result is wrong").to_owned()
    })?;
    Ok(workload)
}

#[cfg(test)]
mod tests {
    use tilewise_kernels::Isa;

    use super::*;

    fn talk(requests: &str) -> Vec<Reply> {
        let by = Implementation::serial(Who::Tilewise(Isa::best().expect("a path")));
        let mut replies = Vec::new();
        serve(by, Ok("1.0"), requests.as_bytes(), &mut replies).expect("a vector takes everything");
        let replies = String::from_utf8(replies).expect("text");
        replies.lines().map(|line| serde_json::from_str(line).expect("a reply")).collect()
    }

    #[test]
    fn a_case_is_prepared_timed_and_dropped() {
        let replies = talk(
            "{\"ask\":\"hello\"}\n\
             {\"ask\":\"prepare\",\"case\":\"gemm/f32/8x8x8\",\"variant\":\"x\"}\n\
             {\"ask\":\"time\",\"calls\":3}\n\
             {\"ask\":\"drop\"}\n\
             {\"ask\":\"time\",\"calls\":3}\n",
        );
        assert!(matches!(&replies[0], Reply::Hello { version, .. } if version == "1.0"));
        assert_eq!(replies[1], Reply::Done { ok: true });
        assert!(matches!(replies[2], Reply::Time { seconds } if seconds > 0.0));
        assert_eq!(replies[3], Reply::Done { ok: true });
        assert!(matches!(&replies[4], Reply::Error { error } if error.contains("before a case")));
    }

    #[test]
    fn nonsense_is_answered_and_outlived() {
        let replies = talk(
            "what?\n\
             {\"ask\":\"sing\"}\n\
             {\"ask\":\"prepare\",\"case\":\"gemm/f32/0x\",\"variant\":\"\"}\n\
             {\"ask\":\"prepare\",\"case\":\"nothing/f32/8\",\"variant\":\"\"}\n\
             {\"ask\":\"hello\"}\n",
        );
        assert!(matches!(&replies[0], Reply::Error { error } if error.contains("not a request")));
        assert!(matches!(&replies[1], Reply::Error { error } if error.contains("sing")));
        assert!(matches!(&replies[2], Reply::Absent { .. }));
        assert!(
            matches!(&replies[3], Reply::Absent { absent } if absent.contains("nothing/f32/8"))
        );
        assert!(matches!(&replies[4], Reply::Hello { .. }));
    }
}
