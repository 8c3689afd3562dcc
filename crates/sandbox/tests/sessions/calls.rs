//! Programs and cells.

use crate::desk::{Desk, cell, program, shell};

/// R21, R22: files stay between the calls of a session.
pub(crate) async fn a_program_runs_and_files_stay(desk: Desk) {
    desk.session(1).await;
    let out = desk.call(1, program(&["echo", "hello"])).await.ok();
    assert_eq!(out, "hello\n");
    desk.call(
        1,
        shell("echo kept > file; ls -la /; id; cat /proc/self/status; mount"),
    )
    .await
    .ok();
    assert_eq!(
        desk.call(1, program(&["cat", "/workspace/file"]))
            .await
            .ok(),
        "kept\n"
    );
}

pub(crate) async fn a_cell_runs_in_a_copy_of_the_warm_interpreter(desk: Desk) {
    desk.session(1).await;
    let done = desk.call(1, cell("print('x'); import os\n6 * 7")).await;
    println!("{done:?}");
    assert_eq!(done.stdout, "x\n");
    assert!(done.results.contains("42"), "{done:?}");
    done.ok();
}
