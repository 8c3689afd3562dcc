//! Clients of OpenAI, with real sandboxes.

use crate::e2b::works_unmodified;

/// OpenAI's own SDK for Python, of the version that CI has, does all that its script tries.
#[test]
fn the_sdk_for_python_works_unmodified() {
    works_unmodified("openai", "openai_sdk.py");
}
