use super::*;
use crate::store::WhenFull;
use landfall_agent_core::calibrate::Accept;
use landfall_agent_core::request::Request;
use landfall_agent_core::rules::Rules;
use landfall_agent_core::task::Before;
use landfall_wire::record::TaskKind;
use std::fs;

const FILE: &str = "/site/agent.toml";

fn parsed(text: &str) -> Result<Config, ConfigError> {
    parse(Path::new(FILE), text, site::Files::Unseen)
}

/// A valid task under the given lines.
fn with_task(lines: &str) -> String {
    format!("data_dir = \"d\"\n{lines}\n[task.t]\nthreshold = 0.8\n")
}

/// A valid file with the given lines in its task.
fn in_task(lines: &str) -> String {
    format!("data_dir = \"d\"\n[task.t]\nthreshold = 0.8\n{lines}")
}

/// `line: message | remedy` for every problem.
fn lines(problems: &[Problem]) -> Vec<String> {
    let line = |p: &Problem| {
        assert_eq!(p.file, Path::new(FILE));
        let at = p.line.map_or_else(|| "-".to_owned(), |line| line.to_string());
        format!("{at}: {} | {}", p.message, p.remedy)
    };
    problems.iter().map(line).collect()
}

fn check(text: &str, want: &[&str]) {
    let error = parsed(text).expect_err(text);
    assert_eq!(lines(&error.problems), want, "in\n{text}");
}

#[test]
fn the_example_is_valid() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("landfall-agent.toml");
    let text = fs::read_to_string(&path).unwrap();
    let config = parse(&path, &text, site::Files::Unseen).unwrap();
    assert_eq!(config.warnings, []);
    assert_eq!(config.data_dir, Path::new("/var/lib/landfall"));
    assert_eq!(config.hub.unwrap().address, None);
    assert_eq!(config.http.unwrap().listen.to_string(), "127.0.0.1:8017");
    assert_eq!(config.store.bytes_max, 512 << 20);
    let [failures, fields] = &config.tasks[..] else { panic!("two tasks") };
    assert_eq!(failures.settings.name.as_str(), "failure-mode");
    assert_eq!(failures.settings.accept, Accept::ErrorMax(0.15));
    assert_eq!(failures.settings.ttl_secs, 259_200);
    assert_eq!(failures.settings.rules.iter().count(), 5);
    assert_eq!(failures.settings.guard.text_bytes_max(), 64 << 10);
    assert_eq!(fields.model, "work-order-fields");
    assert!(fields.settings.leave.fields.contains("Item"));
}

#[test]
fn the_smallest_file_has_sensible_defaults() {
    let config = parsed("data_dir = \"d\"\n[task.t]\nerror_max = 0.1").unwrap();
    assert_eq!(config.data_dir, Path::new("/site/d"), "relative to the file");
    assert_eq!((config.hub, config.http, config.spool), (None, None, None));
    assert!(config.models.packages.is_empty());
    let task = &config.tasks[0];
    assert_eq!(task.model, "t");
    assert!(task.settings.escalate);
    assert_eq!(task.settings.audit_rate, 0.0);
    assert_eq!(task.settings.leave, landfall_agent_core::redact::Leave::default());
    assert_eq!(task.settings.redactor.redact("a@b.org").text(), "<email>");
}

#[test]
fn what_is_written_is_used() {
    let text = "data_dir = '/var/d'\n[hub]\naddress = '[::1]:8883'\nidentity = 'id'\n\
        keep_alive = '25s'\n\
        [http]\nlisten = '[::1]:0'\n[spool]\ndir = 'in'\n[store]\nbytes_max = '1 GB'\n\
        journal_bytes_max = '96 MiB'\njournal_days = 7\n\
        outcomes_when_full = 'drop-oldest'\n\
        [models]\npackages = ['p', '/q']\ntrust = ['k.pub']\n\
        [redact]\nbuiltin = []\n[[redact.pattern]]\nmask = 'x'\nregex = 'b+'\n\
        [task.b]\nthreshold = 1\nmodel = 'failure-mode'\nttl = '90s'\nescalate = false\n\
        [task.a]\nerror_max = 0.05\naudit_rate = 1\n";
    let config = parsed(text).unwrap();
    let hub = config.hub.unwrap();
    assert_eq!(hub.address.as_deref(), Some("[::1]:8883"));
    assert_eq!(hub.identity, Path::new("/site/id"));
    assert_eq!(hub.keep_alive, Duration::from_secs(25));
    assert_eq!(config.http.unwrap().listen.port(), 0);
    assert_eq!(config.spool.unwrap().dir, Path::new("/site/in"));
    assert_eq!(config.store.bytes_max, 1_000_000_000);
    assert_eq!(config.store.journal_bytes_max, 96 << 20);
    assert_eq!(config.store.journal_ms, 7 * 86_400_000);
    assert_eq!(config.store.outcomes_when_full, WhenFull::DropOldest);
    assert_eq!(config.store.escalations_when_full, WhenFull::Refuse);
    assert_eq!(config.models.packages, [Path::new("/site/p"), Path::new("/q")]);
    let names: Vec<&str> = config.tasks.iter().map(|t| t.settings.name.as_str()).collect();
    assert_eq!(names, ["b", "a"], "in the order of the file");
    let task = &config.tasks[0];
    assert_eq!((task.model.as_str(), task.settings.ttl_secs), ("failure-mode", 90));
    assert_eq!(task.settings.accept, Accept::Threshold(1.0));
    assert!(!task.settings.escalate);
    assert_eq!(task.settings.redactor.redact("a@bb.org").text(), "a@<x>.org");
}

#[test]
fn every_problem_is_told_at_once_in_the_order_of_the_file() {
    let text = "\
data_dri = '/var/lib/landfall'
[http]
listen = '0.0.0.0:8017'
[store]
bytes_max = '1 MiB'
[task.failure-mode]
error_max = 0.1
threshold = 0.8
ttl = 72
[[task.failure-mode.rule]]
name = 'leak'
words = ['leak']
";
    check(
        text,
        &[
            "1: 'data_dir' is missing | add at the top of the file: data_dir = \"/var/lib/landfall\"",
            "1: unknown key 'data_dri' | did you mean 'data_dir'?",
            "3: 'http.listen' is 0.0.0.0:8017, which other machines can reach: it has no password \
             | use 127.0.0.1:8017 or [::1]:8017, and a proxy with TLS in front for other machines",
            "5: 'store.bytes_max' is 1 MiB, outside 16 MiB to 1 TiB | use a size from 16 MiB to 1 TiB",
            "8: task.failure-mode has both error_max and threshold \
             | keep one: error_max derives the threshold from the package's scores",
            "9: 'task.failure-mode.ttl' is a number, not a duration in quotes \
             | use a duration in quotes, such as \"72h\"",
            "10: the rule leads to nothing | give one of: answer = \"LABEL\", escalate = true, \
             refuse = \"REASON\", out_of_scope = true",
        ],
    );
    assert_eq!(
        parsed("[task.t]\nthreshold = 0.8").unwrap_err().to_string(),
        "/site/agent.toml:1: 'data_dir' is missing\n  \
         remedy: add at the top of the file: data_dir = \"/var/lib/landfall\""
    );
}

#[test]
fn problems_of_the_site() {
    let cases: &[(&str, &str)] = &[
        (
            "[hub]",
            "2: 'identity' is missing in [hub] | add under [hub]: identity = \"/etc/landfall/identity\"",
        ),
        ("[hub]\nidentity = ''", "3: 'hub.identity' is empty | give a path"),
        (
            "[hub]\nidentity = 'i'\naddress = 'hub.example.org'",
            "4: 'hub.address' is 'hub.example.org', which is not host:port | use the name and port \
             of the hub's device endpoint, such as \"hub.example.org:8883\"",
        ),
        (
            "[hub]\nidentity = 'i'\nkeep_alive = '1s'",
            "4: 'hub.keep_alive' is 1s, outside 5s to 20m | use a duration from 5s to 20m",
        ),
        (
            "[http]",
            "2: 'listen' is missing in [http] | add under [http]: listen = \"127.0.0.1:8017\"",
        ),
        (
            "[http]\nlisten = 'localhost:8017'",
            "3: 'http.listen' is 'localhost:8017', which is not an IP address with a port \
             | use 127.0.0.1:8017; names such as localhost are not looked up",
        ),
        (
            "[http]\nlisten = 8017",
            "3: 'http.listen' is a number, not a text in quotes | use a text in quotes",
        ),
        ("[htpp]", "2: unknown key 'htpp' | did you mean 'http'?"),
        ("http = 3", "2: 'http' is a number, not a table: [http] | use a table: [http]"),
        (
            "[store]\njournal_bytes_max = '32 MiB'",
            "3: 'store.journal_bytes_max' is less than 72 MiB, which keeps nothing | use 0 to keep \
             nothing, or at least 72 MiB",
        ),
        (
            "[store]\njournal_days = 0.5",
            "3: 'store.journal_days' is 0.5, which is not 0 to 3650 | use a whole number from 0 to \
             3650",
        ),
        (
            "[store]\nbytes_max = '512 apples'",
            "3: 'store.bytes_max' is '512 apples', which is not a size | use a whole number and a \
             unit, such as \"512 MiB\" or \"2 GB\"",
        ),
        (
            "[store]\nescalations_when_full = 'drop'",
            "3: 'store.escalations_when_full' is 'drop' | use \"refuse\" (callers are told) or \
             \"drop-oldest\" (the hub is told)",
        ),
        (
            "[models]\npackages = ['p']",
            "2: [models] has 'packages' but no 'trust' | add trust = \
             [\"/etc/landfall/trust/release.pub\"], or leave both out to use the shipped packages",
        ),
        (
            "[models]\npackages = [3]\ntrust = ['k']",
            "3: 'models.packages' is a list, but not of the right kind | use a list of texts, such as [\"a\", \"b\"]",
        ),
        (
            "[redact]\nbuiltin = ['emial']",
            "3: 'emial' is not a built-in pattern | did you mean 'email'?",
        ),
        (
            "[[redact.pattern]]\nmask = 'x'\nregex = '('",
            "4: not a regular expression: unclosed group | correct it; back-references and \
             look-around are not supported, and a literal in single quotes needs no doubled backslashes",
        ),
        (
            "[[redact.pattern]]\nregex = 'a'",
            "2: 'mask' is missing in [redact.pattern] | add under [redact.pattern]: mask = \"berth\"",
        ),
    ];
    for (text, want) in cases {
        let error = parsed(&with_task(text)).expect_err(text);
        assert!(lines(&error.problems).contains(&(*want).to_owned()), "{text}\n{error}");
    }
}

#[test]
fn problems_of_a_task() {
    let choices = "give one of: answer = \"LABEL\", escalate = true, refuse = \"REASON\", out_of_scope = true";
    let rule = "[[task.t.rule]]\nname = 'r'\nwords = ['w']\n";
    #[rustfmt::skip]
    let cases: &[(String, String)] = &[
        ("audit_rate = 2".into(), "4: 'task.t.audit_rate' is 2, outside 0 to 1 | write percentages as a share: 0.02 for 2 %".into()),
        ("audit_rate = -1.5".into(), "4: 'task.t.audit_rate' is -1.5, outside 0 to 1 | use a share between 0 and 1".into()),
        ("audit_rate = nan".into(), "4: 'task.t.audit_rate' is NaN, outside 0 to 1 | use a share between 0 and 1".into()),
        ("ttl = '72'".into(), "4: 'task.t.ttl' is '72', which is not a duration | use numbers with units, such as \"72h\" or \"1day 12h\"".into()),
        ("ttl = '0s'".into(), "4: 'task.t.ttl' is 0s, outside 1s to 1year | use a duration from 1s to 1year".into()),
        ("text_bytes_max = '2 MiB'".into(), "4: 'task.t.text_bytes_max' is 2 MiB, outside 1 B to 1 MiB | use a size from 1 B to 1 MiB".into()),
        ("scripts = [\n'Latin',\n'Latn1']".into(), "6: 'Latn1' is not a script that Unicode knows | use Unicode script names such as Latin, Cyrillic or Greek".into()),
        ("escalate = 'no'".into(), "4: 'task.t.escalate' is a text, not true or false | use true or false".into()),
        ("leave = { txt = true }".into(), "4: unknown key 'txt' in [task.t.leave] | did you mean 'text'?".into()),
        ("leave = true".into(), "4: 'task.t.leave' is true or false, not a table: [task.t.leave] | use a table: [task.t.leave]".into()),
        ("[[task.t.topic]]\nname = 'pay'\nwords = ['pay']\naction = 'drop'".into(), "7: 'task.t.topic.action' is 'drop' | use \"refuse\" (not processed) or \"keep\" (never leaves)".into()),
        ("[[task.t.topic]]\nname = 'pay'\naction = 'keep'".into(), "4: topic 'pay': it has neither words nor a regex | give the topic a name, and words or a regular expression that can match".into()),
        (format!("{rule}answer = 'A'\nescalate = true"), format!("4: the rule leads to 2 ends | {choices}")),
        (format!("{rule}escalate = false"), format!("7: 'task.t.rule.escalate' is false | {choices}")),
        (format!("escalate = false\n{rule}escalate = true"), "8: the rule escalates, but its task has escalate = false | remove escalate = false from the task, or let the rule refuse".into()),
        (format!("{rule}anser = 'A'"), "7: unknown key 'anser' in [task.t.rule] | did you mean 'answer'?".into()),
        (format!("{rule}answer = 'A'\n{rule}answer = 'B'"), "9: a rule named 'r' is there already | give every rule of a task its own name".into()),
        ("[[task.t.rule]]\nname = 'r'\nregex = 'a*'\nanswer = 'A'".into(), "6: the pattern matches every text, even an empty one | make some part of it obligatory: + instead of *".into()),
        ("[[task.t.rule]]\nname = 'r'\nwords = ['!']\nanswer = 'A'".into(), "6: '!' holds no letter or digit | use whole words, or a regex for anything else".into()),
        ("[[task.t.rule]]\nwords = ['w']\nanswer = 'A'".into(), "4: 'name' is missing in [task.t.rule] | add under [task.t.rule]: name = \"leak\"".into()),
        ("rule = 'r'".into(), "4: 'task.t.rule' is a text, not tables: [[task.t.rule]] | use tables: [[task.t.rule]]".into()),
    ];
    for (text, want) in cases {
        let error = parsed(&in_task(text)).expect_err(text);
        assert!(lines(&error.problems).contains(want), "{text}\n{error}\nwanted {want}");
    }
    check(
        "data_dir = 'd'\n[task.'Failure Mode']\nthreshold = 0.5",
        &["2: 'Failure Mode' is not a valid task name: use 1 to 63 of a-z, 0-9 and '-', starting \
           with a letter or digit | rename it, such as [task.failure-mode]"],
    );
    check(
        "data_dir = 'd'\n[task.t]\n",
        &["2: 'error_max' is missing in [task.t] | add under [task.t]: error_max = 0.10"],
    );
    check(
        "data_dir = 'd'\n[task.t]\nerror_max = 0",
        &["3: 'task.t.error_max' is 0 | use a share above 0 and below 1, such as 0.10; a raw \
           threshold is `threshold`"],
    );
    check(
        "data_dir = 'd'\ntask.t = 3",
        &[
            "2: 'task.t' is a number, but must be a table | write it as [task.t] with its keys below",
        ],
    );
    check(
        "data_dir = 'd'",
        &["-: no task is configured | add one, such as [task.failure-mode] with error_max = 0.10"],
    );
}

#[test]
fn broken_toml_is_told_with_its_line() {
    let remedy = "correct the line; texts stand in quotes, and a table or key only once";
    let problems = |text: &str| lines(&parsed(text).expect_err(text).problems);
    for (text, line) in [
        ("data_dir = 'd'\nx = \n", "2: not valid TOML: "),
        ("data_dir = /var/lib", "1: not valid TOML: "),
        (
            "data_dir = 'd'\n[task.t]\nthreshold = 0.8\n[task.t]\nthreshold = 0.9",
            "4: not valid TOML: duplicate key",
        ),
        ("data_dir = 'd'\ndata_dir = 'e'", "2: not valid TOML: duplicate key"),
    ] {
        let found = problems(text);
        assert!(found[0].starts_with(line) && found[0].ends_with(remedy), "{text}\n{found:?}");
    }
    assert!(problems("a = \nb = \n").len() >= 2, "both lines are told");
}

#[test]
fn warnings_do_not_stop_it() {
    let text = "data_dir = 'd'\n[hub]\nidentity = 'i'\n[task.t]\nthreshold = 0.8\n\
        [[task.t.rule]]\nname = 'a'\nwords = ['x']\nanswer = 'A'\n\
        [[task.t.rule]]\nname = 'b'\nwords = ['x']\nanswer = 'B'\n";
    let config = parsed(text).unwrap();
    assert_eq!(
        lines(&config.warnings),
        [
            "4: escalations of 't' reach the hub without their text | allow it with leave = \
             { text = true } (it is masked), or set escalate = false",
            "10: rule 'b' can never decide: rule 'a' before it holds whenever it does | move it \
             before the other, or make the other's condition narrower",
        ]
    );
}

fn facts(kind: TaskKind, labels: &[&str]) -> ModelFacts {
    let labels = labels.iter().map(|label| (*label).to_owned()).collect();
    ModelFacts { kind, labels, scores: Vec::new() }
}

#[test]
fn what_does_not_fit_the_models_is_told_with_its_line() {
    let text = "data_dir = 'd'\n\
        [task.failures]\nmodel = 'failure-mode'\nthreshold = 0.8\n\
        leave = { fields = ['Item'] }\n\
        [[task.failures.rule]]\nname = 'leak'\nwords = ['leak']\nanswer = 'Leakin'\n\
        [task.fields]\nthreshold = 0.8\nleave = { fields = ['Itme', 'Item'] }\n\
        [[task.fields.rule]]\nname = 'x'\nwords = ['x']\nanswer = 'Item'\n\
        [task.alone]\nthreshold = 0.8\n";
    let config = parsed(text).unwrap();
    let failures = facts(TaskKind::Classification, &["Leaking", "Breakdown"]);
    let fields = facts(TaskKind::Extraction, &["Item", "Activity"]);
    let find = |task: &str| match task {
        "failure-mode" => Some(&failures),
        "fields" => Some(&fields),
        _ => None,
    };
    let error = config.policies(find).unwrap_err();
    assert_eq!(
        lines(&error.problems),
        [
            "9: rule 'leak' answers 'Leakin', which is not a label of the task | did you mean 'Leaking'?",
            "5: 'Item' may leave, but this task gives a label and no fields | remove `fields` from `leave`",
            "16: rule 'x' answers 'Item', but this task extracts fields | let the rule escalate, \
             refuse, or say out_of_scope",
            "12: 'Itme' may leave, but is not a field of the task | did you mean 'Item'?",
        ]
    );
    let error = config.check_models(&["failure-mode", "fields"]).unwrap_err();
    assert_eq!(
        lines(&error.problems),
        ["17: no model package has a task 'alone' | use one of: failure-mode, fields"]
    );
    assert_eq!(config.check_models(&["failure-mode", "fields", "alone"]), Ok(()));
}

#[test]
fn a_task_without_its_model_still_has_its_rules() {
    let text = in_task("[[task.t.rule]]\nname = 'leak'\nwords = ['leak']\nanswer = 'Leaking'\n");
    let policies = parsed(&text).unwrap().policies(|_| None).unwrap();
    let request = |text: &str| Request {
        task: "t".parse().unwrap(),
        text: text.to_owned(),
        caller_id: None,
        meta: Default::default(),
    };
    assert!(matches!(
        policies[0].before_model(&request("a leak"), &Rules::default()),
        Before::Decided(_)
    ));
    assert_eq!(policies[0].before_model(&request("a noise"), &Rules::default()), Before::AskModel);
}

#[test]
fn files_are_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("agent.toml");
    let write = |text: &str| fs::write(&file, text).unwrap();
    let problems = || {
        let problems = Config::load(&file).unwrap_err().problems;
        let strip = |text: &str| text.replace(&dir.path().display().to_string(), "DIR");
        problems.iter().map(|p| format!("{:?}: {}", p.line, strip(&p.message))).collect::<Vec<_>>()
    };
    assert!(problems()[0].starts_with("None: cannot be read: "), "{:?}", problems());

    write(
        "data_dir = 'agent.toml/data'\n[hub]\nidentity = 'id'\n[spool]\ndir = 'agent.toml'\n\
         [models]\npackages = ['p']\ntrust = ['k.pub']\n[task.t]\nthreshold = 0.8",
    );
    assert_eq!(
        problems(),
        [
            "Some(1): 'data_dir' is DIR/agent.toml/data, but DIR/agent.toml is a file",
            "Some(3): 'hub.identity' is DIR/id, where ca.pem, device.pem, device.key is missing",
            "Some(5): 'spool.dir' is DIR/agent.toml, but DIR/agent.toml is a file",
            "Some(7): DIR/p is not a model package: it has no manifest.json",
            "Some(8): there is no key file DIR/k.pub",
        ]
    );

    for path in ["id/ca.pem", "id/device.pem", "id/device.key", "p/manifest.json", "k.pub"] {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
    let good = "data_dir = 'data'\n[hub]\nidentity = 'id'\n[spool]\ndir = 'in'\n\
         [models]\npackages = ['p']\ntrust = ['k.pub']\n[task.t]\nthreshold = 0.8";
    write(good);
    let config = Config::load(&file).unwrap();
    assert_eq!(config.file, file);
    assert_eq!(config.data_dir, dir.path().join("data"));

    // The digest tells any two files apart, and is the same for the same.
    assert_eq!(Config::load(&file).unwrap().digest, config.digest);
    write(&format!("{good}\n"));
    assert_ne!(Config::load(&file).unwrap().digest, config.digest);

    fs::write(&file, b"data_dir = '\xff'").unwrap();
    assert_eq!(problems(), ["None: is not UTF-8 text at byte 12"]);
    let is_dir = Config::load(dir.path()).unwrap_err().to_string();
    assert!(is_dir.contains(": is not a file\n  remedy: "), "{is_dir}");
}

#[test]
fn the_model_that_masks_is_on_where_there_is_one_unless_the_file_says_otherwise() {
    let labels = ["person".to_owned(), "asset".to_owned()];
    let load = |more: &str| parsed(&with_task(more));
    let config = load("").unwrap();
    assert_eq!(config.redact_model, RedactModel::default());
    assert_eq!(config.redact_model.wanted, None);
    assert!(config.check_redact_model(None).is_ok());
    assert!(config.check_redact_model(Some(&labels)).is_ok());

    let config =
        load("[redact]\nmodel = true\nmodel_floor = 0.05\nmodel_labels = ['person']\n").unwrap();
    assert_eq!((config.redact_model.wanted, config.redact_model.floor), (Some(true), 0.05));
    assert!(config.check_redact_model(Some(&labels)).is_ok());
    let missing = config.check_redact_model(None).unwrap_err().to_string();
    assert!(missing.contains("no model package has a task 'redact'"), "{missing}");

    let config = load("[redact]\nmodel_labels = ['persom']\n").unwrap();
    let unknown = config.check_redact_model(Some(&labels)).unwrap_err().to_string();
    assert!(unknown.contains("'persom' is not a label") && unknown.contains("person"), "{unknown}");

    let floor = load("[redact]\nmodel_floor = 20\n").unwrap_err().to_string();
    assert!(floor.contains("'redact.model_floor' is 20, outside 0 to 1"), "{floor}");
}

#[test]
fn links_as_they_are_written() {
    let text = "data_dir = 'd'\n[[link]]\nname = 'satellite'\nclass = 5\nroute = 'wwan0'\n\
        rate = '8 KiB'\nbytes_per_day = '5 MB'\nwindows = ['22:00-04:00']\ntime = 'local'\n\
        streams = ['escalation', 'event']\nmodels = false\nkeep_alive = '10m'\n\
        [[link]]\nname = 'port'\nclass = 1\nprobe = ['true']\nprobe_every = '5s'\n\
        [task.t]\nerror_max = 0.1\n";
    let links = parsed(text).unwrap().links;
    assert_eq!(links[0].sign, Sign::Route("wwan0".to_owned()));
    assert_eq!(links[0].keep_alive, Some(Duration::from_secs(600)));
    let policy = &links[0].policy;
    assert_eq!((policy.class, policy.bytes_per_sec), (5, Some(8192)));
    assert_eq!((policy.bytes_per_day, policy.windows.len()), (Some(5_000_000), 1));
    assert!(policy.carries.escalations && !policy.carries.outcomes && !policy.carries.models);
    let every = Duration::from_secs(5);
    assert_eq!(links[1].sign, Sign::Probe { command: vec!["true".to_owned()], every });
    assert!(links[1].policy.carries.outcomes && links[1].policy.bytes_per_day.is_none());
}

#[test]
fn what_is_wrong_with_a_link() {
    check(
        "data_dir = 'd'
[[link]]
class = 0
interface = 'eth0'
route = 'eth0'
[[link]]
name = 'sat'
class = 2
windows = ['8-17']
streams = ['outcomes']
bytes_per_day = '1 KiB'
time = 'mars'
[task.t]
error_max = 0.1
",
        &[
            "2: 'name' is missing in [link] | add under [link]: name = \"satellite\"",
            "2: a link is known by one of 'interface', 'route' and 'probe' | keep one of them",
            "3: 'link.class' is 0 | use 1 (the cheapest) to 9",
            "9: 'link.windows' has '8-17', which are no hours \
             | write them as \"22:00-04:00\" or \"Mon-Fri 08:00-17:30\"",
            "10: 'outcomes' is not a stream | did you mean 'outcome'?",
            "11: 'link.bytes_per_day' is 1 KiB, outside 128 KiB to 1024 TiB \
             | use a size from 128 KiB to 1024 TiB",
            "12: 'link.time' is 'mars' \
             | use \"utc\", or \"local\" for the time that this machine is set to",
        ],
    );
}
