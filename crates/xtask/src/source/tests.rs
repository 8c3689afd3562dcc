use super::*;

const SOURCE: &str = r#"
    //! A file.
    fn helper() {}
    /// R24, R26: a fresh process
    /// for each call.
    #[test]
    fn plain() { let unsafe_word = "unsafe { }"; } // unsafe { }
    mod inner {
        #[tokio::test(flavor = "current_thread")]
        async fn r9_asynchronous() {}
        #[cfg_attr(windows, ignore)]
        #[test]
        fn conditional() {}
        #[test]
        #[ignore = "slow"]
        fn skipped() {}
    }
    proptest! {
        #![proptest_config(ProptestConfig::with_cases(9))]
        /// R5: any bytes.
        #[test]
        fn property(bytes in any::<Vec<u8>>(), n in 0..9_usize) { prop_assert!(n < 9); }
    }
    words! { A { B = "b" } }
    macro_rules! words { () => {} }
"#;

#[test]
fn every_kind_of_test_is_found_with_its_comment() {
    let found = tests(SOURCE).unwrap();
    let names: Vec<_> = found.iter().map(|test| test.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "plain",
            "inner::r9_asynchronous",
            "inner::conditional",
            "inner::skipped",
            "property"
        ]
    );
    assert_eq!(found[0].doc, "R24, R26: a fresh process for each call.");
    assert_eq!(found[4].doc, "R5: any bytes.");
    let ignored: Vec<_> = found.iter().map(|test| test.ignored).collect();
    assert_eq!(ignored, [false, false, true, true, false]);
}

#[test]
fn a_file_that_is_not_rust_is_an_error() {
    assert!(tests("fn (").is_err());
    assert!(tests("proptest! { fn f(x in 0..9) }").is_err());
}

#[test]
fn only_invocations_of_the_macro_are_returned() {
    assert_eq!(invocations(SOURCE, "words").unwrap().len(), 1);
}

#[test]
fn unsafe_counts_in_code_only() {
    assert_eq!(unsafe_code(SOURCE).unwrap(), UnsafeCode::default());
    let code = "unsafe impl Send for A {} unsafe fn f() { unsafe { g() } } // unsafe { }";
    assert_eq!(
        unsafe_code(code).unwrap(),
        UnsafeCode {
            words: 3,
            claims: 2
        }
    );
}
