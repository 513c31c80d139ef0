//! Every setting, described once. `agent/CONFIGURATION.md` is made from it; tests hold it against
//! what the reader asks the file for, and the document against it.

use std::fmt::Write as _;

/// One table of the file.
struct Table {
    /// Its name, with `NAME` for one that the site chooses.
    name: &'static str,
    /// Whether there can be several, as in `[[name]]`.
    several: bool,
    about: &'static str,
    settings: &'static [Setting],
}

/// Name, kind of value, what holds without it, meaning.
struct Setting(&'static str, &'static str, &'static str, &'static str);

/// In the order in which a file has them.
const TABLES: &[Table] = &[
    Table {
        name: "",
        several: false,
        about: "At the top of the file.",
        settings: &[Setting(
            "data_dir",
            "path",
            "must be given",
            "Where the agent keeps its records until the hub has them. Made if it does not exist.",
        )],
    },
    Table {
        name: "hub",
        several: false,
        about: "The hub. Without this table the agent decides and queues, and sends nothing.",
        settings: &[
            Setting(
                "identity",
                "path",
                "must be given",
                "The directory that `landfall-hub enroll` wrote.",
            ),
            Setting(
                "address",
                "host:port",
                "from `bundle.toml`",
                "Where the hub is, if elsewhere.",
            ),
            Setting(
                "keep_alive",
                "duration",
                "60s",
                "How often the hub is asked whether it is still there, 5s to 20m.",
            ),
        ],
    },
    Table {
        name: "link",
        several: true,
        about: "The ways to the hub. Of those that are there, within their hours and their budget, the one \
                of the lowest class is used. Without any, whatever the system finds is used.",
        settings: &[
            Setting("name", "name", "must be given", "How records and pages call it."),
            Setting("class", "1 to 9", "must be given", "1 is the cheapest, 9 the dearest."),
            Setting(
                "interface",
                "name",
                "taken to be there",
                "There while this interface is up; bound to it.",
            ),
            Setting(
                "route",
                "name",
                "taken to be there",
                "There while the default route leads through it.",
            ),
            Setting(
                "probe",
                "command",
                "taken to be there",
                "There while it ends with status 0, within 10 s.",
            ),
            Setting("probe_every", "duration", "30s", "How often it is probed."),
            Setting("rate", "size", "no limit", "Most bytes a second."),
            Setting(
                "bytes_per_day",
                "size",
                "no limit",
                "Most bytes a day, from 128 KiB, headers included.",
            ),
            Setting("windows", "list of hours", "always", "When it may be used, as `22:00-04:00`."),
            Setting("time", "utc, local", "utc", "In what time days and windows are meant."),
            Setting("streams", "list of streams", "all", "What travels over it."),
            Setting(
                "models",
                "true, false",
                "without a budget",
                "Whether model files travel over it.",
            ),
            Setting("keep_alive", "duration", "hub.keep_alive", "In place of that of `[hub]`."),
        ],
    },
    Table {
        name: "http",
        several: false,
        about: "Requests over HTTP. Without this table there are none.",
        settings: &[Setting(
            "listen",
            "address:port",
            "must be given",
            "A loopback address: there is no password. Port 0 takes a free one.",
        )],
    },
    Table {
        name: "spool",
        several: false,
        about: "Requests as files. Without this table there are none.",
        settings: &[Setting("dir", "path", "must be given", "Has a folder for each task.")],
    },
    Table {
        name: "store",
        several: false,
        about: "The durable queue.",
        settings: &[
            Setting("bytes_max", "size", "512 MiB", "Most space on disk, from 16 MiB."),
            Setting(
                "outcomes_when_full",
                "refuse, drop-oldest",
                "refuse",
                "When it is full: refuse new requests, or drop the oldest and tell the hub.",
            ),
            Setting(
                "escalations_when_full",
                "refuse, drop-oldest",
                "refuse",
                "The same of questions.",
            ),
            Setting(
                "when_unrecordable",
                "refuse, answer",
                "refuse",
                "While nothing can be recorded: refuse requests, or answer them without a record.",
            ),
            Setting(
                "journal_bytes_max",
                "size",
                "128 MiB",
                "Space for what the hub has already; 0 keeps nothing.",
            ),
            Setting("journal_days", "days", "30", "How many days of running time that is kept."),
        ],
    },
    Table {
        name: "models",
        several: false,
        about: "Model packages. Without this table the shipped ones are used.",
        settings: &[
            Setting("packages", "list of paths", "must be given", "Directories of packages."),
            Setting("trust", "list of paths", "must be given", "Public keys that may sign them."),
        ],
    },
    Table {
        name: "releases",
        several: false,
        about: "How model packages that the hub rolls out come to the device.",
        settings: &[
            Setting("hub", "host:port", "from `bundle.toml`", "Where the hub hands out files."),
            Setting(
                "mirrors",
                "list of addresses",
                "none",
                "Web servers with the same files, asked before the hub; `https://` only, at most 16.",
            ),
            Setting(
                "mirror_ca",
                "path",
                "the hub's",
                "The authority of the mirrors' certificates.",
            ),
            Setting(
                "peers",
                "list of host:port",
                "none",
                "Devices of the site, asked first; at most 16.",
            ),
            Setting(
                "serve",
                "address:port",
                "not at all",
                "Hand files to the site's other devices here.",
            ),
            Setting("bytes_max", "size", "512 MiB", "Most space for files, from 1 MiB."),
        ],
    },
    Table {
        name: "redact",
        several: false,
        about: "What is masked in everything that leaves.",
        settings: &[
            Setting(
                "builtin",
                "list of names",
                "email, iban, ip, phone, card, number, name",
                "Patterns that are known; `equipment` is known too. An empty list masks nothing.",
            ),
            Setting(
                "model",
                "true, false",
                "used if there",
                "Whether a package's model masks too.",
            ),
            Setting("model_labels", "list of labels", "all", "What of the model's is masked."),
            Setting("model_floor", "share", "0.2", "Words are masked from this probability on."),
        ],
    },
    Table {
        name: "redact.pattern",
        several: true,
        about: "The site's own patterns.",
        settings: &[
            Setting("mask", "name", "must be given", "What stands in its place, as `<name>`."),
            Setting("regex", "regular expression", "must be given", "What is masked."),
        ],
    },
    Table {
        name: "task.NAME",
        several: false,
        about: "A task; its name is what callers ask for. At least one, at most 64.",
        settings: &[
            Setting("model", "name", "the task's name", "The task of the model package."),
            Setting(
                "error_max",
                "share",
                "this or threshold",
                "Of what the model answers alone, at most this share may be wrong.",
            ),
            Setting("threshold", "share", "this or error_max", "The lowest confidence to accept."),
            Setting(
                "audit_rate",
                "share",
                "0",
                "Of the confident answers, the share that the hub checks.",
            ),
            Setting("ttl", "duration", "72h", "How long a question stays open, of running time."),
            Setting(
                "report_class_max",
                "1 to 9",
                "any",
                "Over links of a class above this, its outcomes are told as a sketch alone.",
            ),
            Setting("escalate", "true, false", "true", "Whether the hub is asked at all."),
            Setting("text_bytes_max", "size", "64 KiB", "Longer text is refused; at most 1 MiB."),
            Setting("scripts", "list of scripts", "all", "Text mostly in others is refused."),
        ],
    },
    Table {
        name: "task.NAME.leave",
        several: false,
        about: "What may leave beside the decision, masked.",
        settings: &[
            Setting("text", "true, false", "false", "The text of the request."),
            Setting("fields", "list of labels", "none", "Values of these extracted fields."),
            Setting("meta", "list of names", "none", "These entries of the request's metadata."),
        ],
    },
    Table {
        name: "task.NAME.topic",
        several: true,
        about: "Topics that are kept out.",
        settings: &[
            Setting("name", "name", "must be given", "How replies call it."),
            Setting("words", "list of texts", "none", "Any of these words or phrases."),
            Setting("regex", "regular expression", "none", "This pattern somewhere in the text."),
            Setting(
                "action",
                "refuse, keep",
                "must be given",
                "Not processed at all; or decided here, and nothing of it leaves.",
            ),
        ],
    },
    Table {
        name: "task.NAME.rule",
        several: true,
        about: "Rules come before the model; the first that fits decides. All conditions that are \
                given must hold, and there is one end.",
        settings: &[
            Setting("name", "name", "must be given", "How records call it."),
            Setting(
                "words",
                "list of texts",
                "none",
                "Any of these words or phrases, in any case.",
            ),
            Setting("all_words", "list of texts", "none", "Every one of these."),
            Setting("regex", "regular expression", "none", "This pattern somewhere in the text."),
            Setting("meta", "table of texts", "none", "Exactly these entries of the metadata."),
            Setting("answer", "label", "one end", "The answer is this."),
            Setting("out_of_scope", "true", "one end", "No label fits."),
            Setting("escalate", "true", "one end", "The hub is asked."),
            Setting("refuse", "text", "one end", "Not decided, with this reason."),
        ],
    },
];

/// The reference of the configuration, in Markdown.
pub fn reference() -> String {
    let mut text = "# Settings of `agent.toml`\n\n\
        Made by `landfall-agent config-reference` from the code; \
        [`landfall-agent.toml`](landfall-agent.toml) is a whole file with comments. \
        `landfall-agent check-config` tells every mistake at once, with its line and a remedy.\n\n\
        Relative paths start at the directory of the file. Sizes are texts such as `\"512 MiB\"`, \
        durations such as `\"72h\"`, shares numbers between 0 and 1. A name that is not listed here \
        is an error.\n"
        .to_owned();
    for Table { name, several, about, settings } in TABLES {
        // Writing to a string does not fail.
        let _never = match (*name, several) {
            ("", _) => write!(text, "\n## Top\n\n{about}\n\n"),
            (name, true) => write!(text, "\n## `[[{name}]]`\n\n{about}\n\n"),
            (name, false) => write!(text, "\n## `[{name}]`\n\n{about}\n\n"),
        };
        text.push_str("| setting | value | default | |\n|---|---|---|---|\n");
        for Setting(name, kind, default, about) in *settings {
            let _never = writeln!(text, "| `{name}` | {kind} | {default} | {about} |");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::{section, site};
    use super::*;
    use std::collections::BTreeSet;
    use std::path::Path;

    /// Every table, empty: the reader then complains, and asks for all it knows.
    fn every_table() -> String {
        let header = |table: &Table| {
            let name = table.name.replace("NAME", "x");
            match (table.name, table.several) {
                ("", _) => String::new(),
                (_, true) => format!("[[{name}]]\n"),
                (_, false) => format!("[{name}]\n"),
            }
        };
        TABLES.iter().map(header).collect()
    }

    #[test]
    fn every_setting_that_is_read_is_described_and_no_other() {
        section::asked();
        let _complaints =
            super::super::parse(Path::new("a.toml"), &every_table(), site::Files::Unseen);
        let tables: BTreeSet<&str> = TABLES.iter().map(|table| table.name).collect();
        let asked: BTreeSet<(String, &str)> = section::asked()
            .into_iter()
            .map(|(table, key)| (table.replacen("task.x", "task.NAME", 1), key))
            .collect();
        let whole = |table: &str, key: &str| match table {
            "" => key.to_owned(),
            table => format!("{table}.{key}"),
        };
        let described: BTreeSet<(String, &str)> = TABLES
            .iter()
            .flat_map(|table| table.settings.iter().map(|it| (table.name.to_owned(), it.0)))
            .collect();
        let missing: Vec<_> = asked
            .difference(&described)
            .filter(|(table, key)| {
                let name = whole(table, key);
                name != "task" && !tables.contains(name.as_str())
            })
            .collect();
        assert!(missing.is_empty(), "add to TABLES what the reader asks for: {missing:?}");
        let extra: Vec<_> = described.difference(&asked).collect();
        assert!(extra.is_empty(), "remove from TABLES what nobody reads: {extra:?}");
    }

    #[test]
    fn the_document_is_made_from_the_code() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("CONFIGURATION.md");
        if std::env::var_os("LANDFALL_BLESS").is_some_and(|value| value == "1") {
            std::fs::write(&path, reference()).unwrap();
        }
        let document = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(document == reference(), "run with LANDFALL_BLESS=1 to write {}", path.display());
    }
}
