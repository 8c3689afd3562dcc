//! What the checks need to know of a Rust source file, from its syntax, not from its text.

use proc_macro2::{Delimiter, Group, Ident, TokenStream, TokenTree};
use syn::{
    Attribute, Expr, Item, ItemMacro, Lit, Meta, Token, Visibility,
    parse::{Parse, ParseStream},
};

#[cfg(test)]
mod tests;

/// A test function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TestFn {
    /// Its modules inside the file and its name, joined with `::`.
    pub(crate) name: String,
    /// Its doc comment, on one line.
    pub(crate) doc: String,
    /// Whether it carries `#[ignore]`, with a condition or without.
    pub(crate) ignored: bool,
}

/// How often a file says `unsafe`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct UnsafeCode {
    /// In any meaning.
    pub(crate) words: usize,
    /// As a block or an implementation: what needs a `// SAFETY:`.
    pub(crate) claims: usize,
}

/// The functions with `#[test]`, with a runtime's `#[….::test]`, or inside `proptest!`.
pub(crate) fn tests(source: &str) -> syn::Result<Vec<TestFn>> {
    let mut found = Vec::new();
    collect(&syn::parse_file(source)?.items, "", &mut found)?;
    Ok(found)
}

/// The bodies of the invocations of `macro_name` among the items of a file.
pub(crate) fn invocations(source: &str, macro_name: &str) -> syn::Result<Vec<TokenStream>> {
    let file = syn::parse_file(source)?;
    Ok(file
        .items
        .into_iter()
        .filter_map(|item| match item {
            Item::Macro(ItemMacro {
                ident: None, mac, ..
            }) if ends_in(&mac.path, macro_name) => Some(mac.tokens),
            _ => None,
        })
        .collect())
}

/// The uses of `unsafe`; comments and strings do not count.
pub(crate) fn unsafe_code(source: &str) -> syn::Result<UnsafeCode> {
    let mut count = UnsafeCode::default();
    count_unsafe(source.parse()?, &mut count);
    Ok(count)
}

/// The doc comment among `attributes`, on one line.
pub(crate) fn doc(attributes: &[Attribute]) -> String {
    let lines = attributes
        .iter()
        .filter_map(|attribute| match &attribute.meta {
            Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
                Expr::Lit(literal) => match &literal.lit {
                    Lit::Str(text) => Some(text.value().trim().to_owned()),
                    _ => None,
                },
                _ => None,
            },
            _ => None,
        });
    lines.collect::<Vec<_>>().join(" ")
}

fn collect(items: &[Item], module: &str, found: &mut Vec<TestFn>) -> syn::Result<()> {
    for item in items {
        match item {
            Item::Mod(inner) => {
                if let Some((_, items)) = &inner.content {
                    collect(items, &format!("{module}{}::", inner.ident), found)?;
                }
            }
            Item::Fn(function) => {
                found.extend(test(module, &function.sig.ident, &function.attrs));
            }
            Item::Macro(ItemMacro {
                ident: None, mac, ..
            }) if ends_in(&mac.path, "proptest") => {
                let properties: Properties = mac.parse_body()?;
                found.extend(
                    properties
                        .0
                        .iter()
                        .filter_map(|(name, attributes)| test(module, name, attributes)),
                );
            }
            _ => {}
        }
    }
    Ok(())
}

fn test(module: &str, name: &Ident, attributes: &[Attribute]) -> Option<TestFn> {
    let is_test = attributes
        .iter()
        .any(|attribute| ends_in(attribute.path(), "test"));
    is_test.then(|| TestFn {
        name: format!("{module}{name}"),
        doc: doc(attributes),
        ignored: attributes.iter().any(is_ignore),
    })
}

fn is_ignore(attribute: &Attribute) -> bool {
    match &attribute.meta {
        Meta::List(list) if list.path.is_ident("cfg_attr") => list
            .tokens
            .clone()
            .into_iter()
            .any(|token| matches!(token, TokenTree::Ident(word) if word == "ignore")),
        meta => meta.path().is_ident("ignore"),
    }
}

fn ends_in(path: &syn::Path, name: &str) -> bool {
    path.segments
        .last()
        .is_some_and(|segment| segment.ident == name)
}

/// The functions of a `proptest!` block. Their parameters are patterns with strategies (`x in 0..9`), so
/// they are not items of the language.
struct Properties(Vec<(Ident, Vec<Attribute>)>);

impl Parse for Properties {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        input.call(Attribute::parse_inner)?;
        let mut functions = Vec::new();
        while !input.is_empty() {
            let attributes = input.call(Attribute::parse_outer)?;
            input.parse::<Visibility>()?;
            input.parse::<Token![fn]>()?;
            let name: Ident = input.parse()?;
            let _parameters: Group = input.parse()?;
            let _body: Group = input.parse()?;
            functions.push((name, attributes));
        }
        Ok(Self(functions))
    }
}

fn count_unsafe(tokens: TokenStream, count: &mut UnsafeCode) {
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Ident(word) if word == "unsafe" => {
                count.words += 1;
                count.claims += usize::from(match tokens.peek() {
                    Some(TokenTree::Group(group)) => group.delimiter() == Delimiter::Brace,
                    Some(TokenTree::Ident(word)) => word == "impl",
                    _ => false,
                });
            }
            TokenTree::Group(group) => count_unsafe(group.stream(), count),
            _ => {}
        }
    }
}
