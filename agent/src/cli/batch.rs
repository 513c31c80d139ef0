//! `batch`: every text of a file.

use super::Done;
use super::args::{BatchArgs, FormatArg};
use super::desk::Desk;
use super::failure::Failure;
use super::output::{self, Progress};
use crate::bulk::{Halt, LineResult, ResultLine, Results, Tally, pump};
use crate::http::ItemBody;
use crate::input::{Encoding, Format, LineIds, Reading, decode, items};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Largest file: it is read into memory once, to tell its encoding and its digest.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// How often a chunk is tried while the agent is busy or away.
const TRIES: u32 = 6;

/// Pause before the second try; it doubles: half a minute in all, enough for a restart.
const TRY_PAUSE: Duration = Duration::from_secs(1);

/// Where results go.
enum Sink {
    Human,
    Json,
    File(Box<Results>, PathBuf),
}

pub(super) fn batch(args: &BatchArgs) -> Result<Done, Failure> {
    let config = super::load(&args.common.config())?;
    let bytes = read(&args.file)?;
    let (text, encoding) = decode(&bytes);
    let format = match args.format {
        FormatArg::Auto => Format::of(&args.file).unwrap_or(Format::Lines),
        FormatArg::Lines => Format::Lines,
        FormatArg::Jsonl => Format::Jsonl,
        FormatArg::Csv => Format::Csv,
    };
    let reading = Reading { format, column: &args.column };
    let open = || {
        items(&text, reading).map_err(|error| {
            Failure::usage(format!("{}: {error}", args.file.display()))
                .remedy("name the column with the text: --column NAME")
        })
    };
    let total = open()?.count() as u64;
    let ids = LineIds::new(&name(&args.file), &bytes);
    let sink = match &args.out {
        Some(out) => Sink::File(Box::new(open_results(out, &ids)?), out.clone()),
        None if args.json => Sink::Json,
        None => Sink::Human,
    };
    let desk = Desk::open(config)?;
    let job = Job { desk: &desk, task: &args.task, encoding, total, start: Instant::now() };
    let done = job.run(open()?, &ids, sink, args.json && args.out.is_some());
    desk.close();
    done
}

struct Job<'a> {
    desk: &'a Desk,
    task: &'a str,
    encoding: Encoding,
    total: u64,
    start: Instant,
}

impl Job<'_> {
    fn run(
        &self,
        items: impl Iterator<Item = Result<crate::input::Item, crate::input::ItemError>>,
        ids: &LineIds,
        mut sink: Sink,
        json_summary: bool,
    ) -> Result<Done, Failure> {
        let encoding = (self.encoding == Encoding::Windows1252).then_some(self.encoding);
        let resumed = match &sink {
            Sink::File(results, _) => results.last_line,
            Sink::Human | Sink::Json => 0,
        };
        let rest = items.filter(|item| {
            let line = item.as_ref().map_or_else(|error| error.line, |item| item.line);
            line > resumed
        });
        let mut progress = Progress::new();
        let tally = pump(
            rest,
            ids,
            |bodies| decide(self.desk, self.task, bodies),
            |line, result, tally| {
                keep(&mut sink, &ResultLine { line, encoding, result })?;
                progress.show(format_args!("{} of {}", tally.items, self.total));
                Ok(())
            },
        );
        progress.clear();
        let tally = tally.map_err(|halt| match halt {
            halt @ Halt::Later(_) => {
                let failure = Failure::from(halt);
                let message = format!("stopped before the end: {}", failure.message);
                let again = "run the same command again: what is decided is not decided twice";
                Failure { message, ..failure }.remedy(again)
            }
            halt => Failure::from(halt),
        })?;
        if let Sink::File(results, out) = sink {
            results.finish(&out)?;
        }
        self.summary(&tally, resumed, json_summary)?;
        if tally.errors > 0 {
            return Err(Failure::new(format!(
                "{} of {} lines were not decided",
                tally.errors, self.total
            ))
            .remedy("the results say why, line by line; correct them and run it again"));
        }
        Ok(Done::Done)
    }

    fn summary(&self, tally: &Tally, resumed: u64, json: bool) -> Result<(), Failure> {
        let secs = self.start.elapsed().as_secs_f64();
        if json {
            let tally = serde_json::to_value(tally).unwrap_or_default();
            output::json(&serde_json::json!({"task": self.task, "encoding": self.encoding,
                "resumed_after_line": resumed, "seconds": (secs * 1e3).round() / 1e3,
                "results": tally}))?;
            return Ok(());
        }
        let Tally { items, rule, model, escalated, refused, errors, repeated } = tally;
        if resumed > 0 {
            output::note(format_args!("went on after line {resumed}"));
        }
        if self.encoding == Encoding::Windows1252 {
            output::note(format_args!("the file is not UTF-8; read as windows-1252"));
        }
        output::note(format_args!(
            "{items} texts in {secs:.1} s: {rule} by rule, {model} by model, {escalated} escalated, \
             {refused} refused, {errors} errors; {repeated} repeated"
        ));
        Ok(())
    }
}

fn decide(desk: &Desk, task: &str, bodies: Vec<ItemBody>) -> Result<Vec<LineResult>, Halt> {
    let mut pause = TRY_PAUSE;
    for _ in 1..TRIES {
        match desk.ask_many(task, bodies.clone()) {
            Err(Halt::Later(_)) => {
                std::thread::sleep(pause);
                pause *= 2;
            }
            done => return done,
        }
    }
    desk.ask_many(task, bodies)
}

fn keep(sink: &mut Sink, line: &ResultLine) -> Result<(), Halt> {
    match sink {
        Sink::Human => output::line(format_args!("{}", human(line)))?,
        Sink::Json => output::json(line)?,
        Sink::File(results, _) => {
            results.push(line)?;
            results.flush()?;
        }
    }
    Ok(())
}

fn human(line: &ResultLine) -> String {
    let number = line.line;
    match &line.result {
        LineResult::Error(envelope) => format!("{number}\terror\t{}", envelope.error.message),
        LineResult::Reply(reply) => {
            let status = match reply.status {
                crate::http::Status::Answered => "answered",
                crate::http::Status::Escalated => "escalated",
                crate::http::Status::Refused => "refused",
            };
            let (answer, by) = (output::answer_line(&reply.answer), output::mechanism(reply));
            format!("{number}\t{status}\t{answer}\t{:.2}\t{by}", reply.confidence)
        }
    }
}

/// The part is named after the input too, so that only the same job goes on with it.
fn open_results(out: &Path, ids: &LineIds) -> Result<Results, Failure> {
    let mut part = out.as_os_str().to_owned();
    part.push(format!(".{}.part", ids.digest()));
    Results::open(PathBuf::from(part)).map_err(|error| {
        Failure::new(format!("cannot write {}: {error}", out.display()))
            .remedy("check the path, its permissions and the space on its disk")
    })
}

fn name(file: &Path) -> String {
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned());
    name.filter(|name| name != "-").unwrap_or_else(|| "stdin".to_owned())
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    let failed =
        |error: std::io::Error| Failure::usage(format!("cannot read {}: {error}", file.display()));
    let input: Box<dyn Read> = if file == Path::new("-") {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(std::fs::File::open(file).map_err(failed)?)
    };
    let mut bytes = Vec::new();
    input.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(
            Failure::usage(format!("the input is over {FILE_BYTES_MAX} bytes")).remedy("split it")
        );
    }
    Ok(bytes)
}
