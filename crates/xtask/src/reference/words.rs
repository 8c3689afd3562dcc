//! `docs/reference/words.md`: the closed sets of words that records, profiles and answers use.

use std::fmt::Write as _;

use anyhow::{Context, Result, ensure};
use syn::{
    Attribute, Ident, LitStr, Token, braced,
    parse::{Parse, ParseStream, Parser},
    punctuated::Punctuated,
};

use crate::{Page, Tree, source};

/// The crate that holds the sets, each an invocation of `words!`.
const SOURCES: &str = "crates/model/src/";

/// Generates the page.
pub(super) fn page(tree: &Tree) -> Result<Page> {
    let mut content = String::from(
        "# The words\n\n\
         Written by `cargo xtask reference` from the sources. Each set is closed: nothing else is written into a\n\
         record or an answer, and nothing else is accepted.\n",
    );
    let mut sets = Vec::new();
    for file in tree.below(SOURCES, ".rs") {
        for body in source::invocations(&tree.read(file)?, "words")? {
            let set = Set::parse.parse2(body).with_context(|| file.to_owned())?;
            sets.push(set);
        }
    }
    ensure!(!sets.is_empty(), "{SOURCES} holds no set of words");
    sets.sort_by(|a, b| a.name.cmp(&b.name));
    for set in sets {
        let _ = write!(
            content,
            "\n## {}\n\n{}\n\n| Word | Meaning |\n|---|---|\n",
            set.name, set.doc
        );
        for word in set.words {
            let _ = writeln!(content, "| `{}` | {} |", word.text, word.doc);
        }
    }
    Ok(Page {
        path: "docs/reference/words.md".to_owned(),
        content,
    })
}

/// `/// doc` `Name { /// doc … Variant = "word", … }`.
struct Set {
    doc: String,
    name: Ident,
    words: Punctuated<Word, Token![,]>,
}

struct Word {
    doc: String,
    text: String,
}

impl Parse for Set {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let doc = source::doc(&input.call(Attribute::parse_outer)?);
        let name = input.parse()?;
        let words;
        braced!(words in input);
        Ok(Self {
            doc,
            name,
            words: words.parse_terminated(Word::parse, Token![,])?,
        })
    }
}

impl Parse for Word {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let doc = source::doc(&input.call(Attribute::parse_outer)?);
        input.parse::<Ident>()?;
        input.parse::<Token![=]>()?;
        let text: LitStr = input.parse()?;
        Ok(Self {
            doc,
            text: text.value(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_become_tables() {
        let source = "words! {\n/// Two\n/// words.\nTwo {\n/// The first.\nA = \"a\",\n/// The second.\nB = \"b\",\n}\n}";
        let directory = tempfile::tempdir().unwrap();
        let tree = Tree::sample(directory.path(), &[("crates/model/src/two.rs", source)]);
        let page = page(&tree).unwrap();
        assert!(
            page.content.ends_with(
                "\n## Two\n\nTwo words.\n\n| Word | Meaning |\n|---|---|\n| `a` | The first. |\n| `b` | The second. |\n"
            ),
            "{}",
            page.content
        );
    }
}
