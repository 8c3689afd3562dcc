use std::thread;

use super::*;

fn key<'a>(thread: &'a str, tool: &'a str, arguments: &[u8]) -> LoopKey<'a> {
    LoopKey {
        tenant: "acme",
        agent: "support",
        thread,
        tool,
        arguments: Digest::of(arguments),
    }
}

fn seen(loops: &Loops, key: &LoopKey<'_>, causes: &[&str]) {
    for cause in causes {
        loops.seen(key, LoopLimit::default(), cause);
    }
}

fn check(loops: &Loops, key: &LoopKey<'_>) -> Result<(), Looping> {
    loops.check(key, LoopLimit::default())
}

/// R159: three equal failures in a row stop a kind of call, and nothing else.
#[test]
fn three_equal_failures_in_a_row_stop_the_kind() {
    let loops = Loops::default();
    let kind = key("t-1", "python", b"x");
    seen(&loops, &kind, &["egress_denied"; 2]);
    check(&loops, &kind).unwrap();
    seen(&loops, &kind, &["egress_denied"]);
    for _ in 0..3 {
        let looping = check(&loops, &kind).unwrap_err();
        assert_eq!((looping.count, &*looping.cause), (3, "egress_denied"));
    }
    for other in [
        key("t-2", "python", b"x"),
        key("t-1", "shell", b"x"),
        key("t-1", "python", b"y"),
        LoopKey {
            tenant: "globex",
            ..kind
        },
        LoopKey {
            agent: "billing",
            ..kind
        },
    ] {
        check(&loops, &other).unwrap();
    }
}

#[test]
fn another_cause_or_a_success_begins_anew() {
    let loops = Loops::default();
    let kind = key("t-1", "python", b"x");
    seen(&loops, &kind, &["a", "a", "b", "b", "a", "a"]);
    check(&loops, &kind).unwrap();
    loops.succeeded(&kind);
    seen(&loops, &kind, &["a", "a"]);
    check(&loops, &kind).unwrap();
    loops.succeeded(&key("t-1", "python", b"y"));
    seen(&loops, &kind, &["a"]);
    check(&loops, &kind).unwrap_err();
    // A call that was under way.
    loops.succeeded(&kind);
    check(&loops, &kind).unwrap();
}

#[test]
fn what_is_stopped_stays_stopped_whatever_it_is_stopped_for() {
    let loops = Loops::default();
    let kind = key("t-1", "python", b"x");
    seen(&loops, &kind, &["a", "a", "a", "b", "looping", "b"]);
    assert_eq!(check(&loops, &kind).unwrap_err().count, 3);
    seen(&loops, &kind, &["a"]);
    assert_eq!(check(&loops, &kind).unwrap_err().count, 4);
}

#[test]
fn an_operator_clears_one_thread() {
    let loops = Loops::default();
    for thread in ["t-1", "t-2"] {
        for arguments in [b"x", b"y"] {
            seen(&loops, &key(thread, "python", arguments), &["a"; 3]);
        }
    }
    assert_eq!(loops.clear("acme", "support", "t-1"), 2);
    assert_eq!(loops.clear("acme", "support", "t-1"), 0);
    for arguments in [b"x", b"y"] {
        check(&loops, &key("t-1", "python", arguments)).unwrap();
        check(&loops, &key("t-2", "python", arguments)).unwrap_err();
    }
    seen(&loops, &key("t-1", "python", b"x"), &["a"; 2]);
    check(&loops, &key("t-1", "python", b"x")).unwrap();
}

#[test]
fn a_profile_sets_a_limit_within_bounds() {
    for limit in [0, 1, 101, u32::MAX] {
        assert_eq!(LoopLimit::new(limit), Err(LoopLimitError(limit)));
    }
    for failures in [2, 5, 100] {
        let loops = Loops::default();
        let limit = LoopLimit::new(failures).unwrap();
        let kind = key("t-1", "python", b"x");
        for _ in 1..failures {
            loops.seen(&kind, limit, "a");
        }
        loops.check(&kind, limit).unwrap();
        loops.seen(&kind, limit, "a");
        loops.check(&kind, limit).unwrap_err();
    }
}

#[test]
fn names_do_not_run_into_each_other() {
    let loops = Loops::default();
    let kind = LoopKey {
        agent: "ab",
        thread: "c",
        ..key("", "t", b"")
    };
    seen(&loops, &kind, &["a"; 3]);
    check(
        &loops,
        &LoopKey {
            agent: "a",
            thread: "bc",
            ..kind
        },
    )
    .unwrap();
}

#[test]
fn long_causes_are_compared_by_their_beginning() {
    let loops = Loops::default();
    let kind = key("t-1", "python", b"x");
    let long = "é".repeat(MAX_CAUSE_BYTES);
    for end in ["1", "2", "3"] {
        seen(&loops, &kind, &[&format!("{long}{end}")]);
    }
    let cause = check(&loops, &kind).unwrap_err().cause;
    assert_eq!(cause.len(), MAX_CAUSE_BYTES - 1);
}

/// I15: the oldest are forgotten, and a thread displaces its own before those of others.
#[test]
fn memory_is_bounded() {
    let loops = Loops::default();
    let victim = key("victim", "python", b"x");
    seen(&loops, &victim, &["a"; 3]);
    let flood = |thread: &str, kinds: usize| {
        for nth in 0..kinds {
            seen(&loops, &key(thread, "python", &nth.to_le_bytes()), &["a"]);
        }
    };
    flood("one", MAX_LOOPS_PER_THREAD + 10);
    assert_eq!(loops.rows().by_key.len(), MAX_LOOPS_PER_THREAD + 1);
    check(&loops, &victim).unwrap_err();
    for thread in 1..MAX_LOOPS / MAX_LOOPS_PER_THREAD {
        flood(&format!("thread {thread}"), MAX_LOOPS_PER_THREAD);
    }
    {
        let rows = loops.rows();
        assert_eq!(rows.by_key.len(), MAX_LOOPS);
        assert_eq!(rows.oldest.len(), MAX_LOOPS);
        assert_eq!(
            rows.threads.values().map(BTreeSet::len).sum::<usize>(),
            MAX_LOOPS
        );
    }
    check(&loops, &victim).unwrap();
}

#[test]
fn threads_that_race_count_each_failure() {
    let loops = Loops::default();
    let kind = key("t-1", "python", b"x");
    thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| seen(&loops, &kind, &["a"; 10]));
        }
    });
    assert_eq!(check(&loops, &kind).unwrap_err().count, 100);
}
