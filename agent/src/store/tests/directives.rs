//! What the hub wants holds over everything that happens to a store.

use super::*;
use landfall_wire::directive::{Directive, Reporting, ReportingMode, Sealed};

fn reporting(task: Option<&str>, mode: ReportingMode) -> Directive {
    let task = task.map(|task| task.parse().unwrap());
    Directive::Reporting(Reporting { task, mode })
}

/// Of a kind that this version does not know.
fn later(subject: &str, body: u8) -> Directive {
    Directive::Unknown(Sealed { kind: 900, subject: subject.into(), body: vec![body] })
}

fn apply(store: &Store, next: u64, directives: Vec<Directive>) {
    let batch = down_until(next, directives.into_iter().map(Down::Directive).collect());
    runtime().block_on(store.apply_down(batch)).unwrap();
}

fn held(store: &Store) -> Vec<(u64, Directive)> {
    store.directives().into_iter().map(|one| (one.at.next, one.directive)).collect()
}

fn troubles(store: &Store) -> Vec<String> {
    let detail = |record| match record {
        Record::Event(Event::Trouble { detail, .. }) => Some(detail),
        _ => None,
    };
    events(store).into_iter().filter_map(detail).collect()
}

#[test]
fn the_latest_of_each_kind_and_subject_holds_and_is_handed_out_at_a_start() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, small());
    let mut following = store.follow_directives();
    let all = reporting(None, ReportingMode::Full);
    let one = reporting(Some("failure-mode"), ReportingMode::Sampled { one_in: 20 });
    apply(&store, 2, vec![all.clone(), one.clone()]);
    let next = |following: &mut Following| runtime().block_on(following.next());
    assert_eq!(next(&mut following), Some(all));
    assert_eq!(next(&mut following), Some(one.clone()));
    let all = reporting(None, ReportingMode::Sketch);
    apply(&store, 3, vec![all.clone()]);
    assert_eq!(next(&mut following), Some(all.clone()), "what arrives is handed out");
    runtime().block_on(store.close());
    assert_eq!(next(&mut following), None, "until the store is closed");
    drop((store, following));
    let store = open(&dir, small());
    assert_eq!(held(&store), [(2, all.clone()), (1, one.clone())]);
    let mut following = store.follow_directives();
    assert_eq!([next(&mut following), next(&mut following)], [Some(all), Some(one)]);
    assert_eq!(troubles(&store), Vec::<String>::new());
}

#[test]
fn what_is_not_known_is_kept_and_told_and_what_cannot_be_read_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, small());
    let known = reporting(None, ReportingMode::Full);
    let batch = [
        Down::Unreadable,
        Down::Directive(later("pump", 1)),
        Down::Directive(known.clone()),
        Down::Unreadable,
    ];
    runtime().block_on(store.apply_down(down_until(4, batch.to_vec()))).unwrap();
    assert_eq!(store.answers(), Some(answer_mark(4)), "the stream goes on");
    assert_eq!(held(&store), [(2, known.clone()), (1, later("pump", 1))]);
    let [told] = &troubles(&store)[..] else { panic!("{:?}", troubles(&store)) };
    assert!(told.contains("2 records") && told.contains("kind 900 about 'pump'"), "{told}");
    runtime().block_on(store.close());
    drop(store);
    assert_eq!(held(&open(&dir, small())), [(2, known), (1, later("pump", 1))]);
}

#[test]
fn one_that_is_sent_again_does_not_take_the_place_of_a_later_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, small());
    apply(&store, 2, vec![later("pump", 1), later("pump", 2)]);
    // A salvaged store may have an older mark than directives.
    apply(&store, 1, vec![later("pump", 1)]);
    assert_eq!(held(&store), [(1, later("pump", 2))]);
    // In another epoch of the hub the numbers mean nothing.
    let mark = Position { epoch: Epoch(10), ..answer_mark(1) };
    let arrived = vec![Arrived { seq: 0, down: Down::Directive(later("pump", 3)) }];
    let batch = DownBatch { mark, arrived, gone: 0, at_ms: 1 };
    runtime().block_on(store.apply_down(batch)).unwrap();
    assert_eq!(held(&store), [(0, later("pump", 3))]);
}

#[test]
fn directives_outlive_the_generation_that_they_were_written_to() {
    let dir = tempfile::tempdir().unwrap();
    let config = StoreConfig { generation_records_max: 20, ..small() };
    let store = open(&dir, config.clone());
    apply(&store, 2, vec![later("pump", 1), later("valve", 1)]);
    let fill = |store: &Store| {
        for number in 0..45 {
            runtime().block_on(store.commit(entry(number, None), None, true)).unwrap();
        }
        for stream in store.streams() {
            runtime().block_on(store.acked(mark(stream, stream.end))).unwrap();
        }
    };
    fill(&store);
    apply(&store, 3, vec![later("pump", 2)]);
    fill(&store);
    wait_for("one generation", &store, |store| store.status().generations == 1);
    let want = [(2, later("pump", 2)), (1, later("valve", 1))];
    assert_eq!(held(&store), want);
    runtime().block_on(store.close());
    drop(store);
    assert_eq!(held(&open(&dir, config)), want);
}

#[test]
fn directives_are_salvaged_out_of_a_damaged_store() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, small());
    apply(&store, 3, vec![later("pump", 1), later("pump", 2), later("valve", 1)]);
    let old = store.status().epoch;
    let detail = "page 7 does not match its checksum".to_owned();
    store.ops.send(Op::Suspect { number: 1, detail }).unwrap();
    wait_for("a new epoch", &store, |store| store.status().epoch != old);
    assert_eq!(held(&store), [(1, later("pump", 2)), (2, later("valve", 1))]);
}

#[test]
fn there_is_a_limit_and_what_is_over_it_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, small());
    let max = landfall_agent_core::store::DIRECTIVES_MAX;
    let many = (0..max).map(|number| later(&format!("{number:03}"), 1)).collect();
    apply(&store, max as u64, many);
    apply(&store, max as u64 + 2, vec![later("one more", 1), later("000", 2)]);
    let held = held(&store);
    assert_eq!((held.len(), &held[0].1), (max, &later("000", 2)));
    let told = troubles(&store);
    assert!(
        told.iter().any(|told| told.contains("left out: directive of kind 900 about 'one more'")),
        "{told:?}"
    );
}
