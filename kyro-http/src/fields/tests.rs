//! What a JSON object or a query may hold, and what each refusal says.

use super::*;

const PUT: &[&str] = &["key", "value", "value_base64"];

fn key_of(text: &str) -> Result<u64, String> {
    let object = Object::parse(text.as_bytes(), PUT).map_err(|error| error.to_string())?;
    object.u64("key").map_err(|error| error.to_string())
}

fn value_of(text: &str) -> Result<Vec<u8>, String> {
    let object = Object::parse(text.as_bytes(), PUT).map_err(|error| error.to_string())?;
    object.bytes("value", "value_base64").map(Cow::into_owned).map_err(|error| error.to_string())
}

#[test]
fn keys_are_numbers_or_decimal_strings() {
    for (text, key) in [
        (r#"{"key":0}"#, 0),
        (r#"{"key":18446744073709551615}"#, u64::MAX),
        (r#"{"key":"18446744073709551615"}"#, u64::MAX),
        (r#"{"key":"\u0031"}"#, 1),
        (r#"{"\u006bey":1}"#, 1),
        (" {\n\"key\" :\t7 } ", 7),
    ] {
        assert_eq!(key_of(text), Ok(key), "{text}");
    }
}

#[test]
fn other_keys_are_refused_by_name() {
    for (text, part) in [
        (r#"{"value":"x"}"#, "`key` is missing"),
        (r#"{"key":-1}"#, "is negative"),
        (r#"{"key":1.0}"#, "fraction or an exponent"),
        (r#"{"key":1e3}"#, "fraction or an exponent"),
        (r#"{"key":18446744073709551616}"#, "is above 18446744073709551615"),
        (r#"{"key":null}"#, "is null"),
        (r#"{"key":true}"#, "is a boolean"),
        (r#"{"key":[1]}"#, "is an array"),
        (r#"{"key":{}}"#, "is an object"),
        (r#"{"key":""}"#, "is empty"),
        (r#"{"key":"abc"}"#, "not made of decimal digits"),
        (r#"{"key":" 1"}"#, "not made of decimal digits"),
        (r#"{"key":"+1"}"#, "not made of decimal digits"),
        (r#"{"key":"1.0"}"#, "fraction or an exponent"),
        (r#"{"key":"-1"}"#, "is negative"),
        (r#"{"key":"18446744073709551616"}"#, "is above"),
        (r#"{"key":"\ud800"}"#, "escape that is not Unicode"),
    ] {
        let error = key_of(text).unwrap_err();
        assert!(error.contains("`key`") && error.contains(part), "{text}: {error}");
    }
}

#[test]
fn objects_are_whole_and_hold_each_known_field_once() {
    for (text, part) in [
        ("", "there is nothing"),
        (" \n", "there is nothing"),
        ("[]", "not a JSON object"),
        ("7", "not a JSON object"),
        ("null", "not a JSON object"),
        ("{", "not a JSON object"),
        (r#"{"key":1"#, "not a JSON object"),
        (r#"{"key":1}}"#, "not a JSON object"),
        (r#"{"key":1} {"key":2}"#, "not a JSON object"),
        (r#"{"key":01}"#, "not a JSON object"),
        (r"{key:1}", "not a JSON object"),
        (r#"{"key":1,}"#, "not a JSON object"),
        (r#"{"key":1,"key":2}"#, "`key` is given more than once"),
        (r#"{"key":1,"\u006bey":2}"#, "`key` is given more than once"),
        (r#"{"key":1,"if_offset":3}"#, "`if_offset` is not a field here"),
        (r#"{"Key":1}"#, "`Key` is not a field here"),
    ] {
        let error = key_of(text).unwrap_err();
        assert!(error.contains(part), "{text}: {error}");
    }
    let deep = format!("{{\"key\":{}", "[".repeat(100_000));
    assert!(key_of(&deep).unwrap_err().contains("not a JSON object"));
    let many: Vec<String> = (0..1000).map(|n| format!("\"f{n}\":1")).collect();
    assert!(key_of(&format!("{{{}}}", many.join(","))).unwrap_err().contains("more than 64 fields"));
    assert!(Object::parse(b"{\"key\":1,\"value\":\"\xff\"}", PUT).is_err(), "a body that is not UTF-8");
}

#[test]
fn values_are_text_or_base64_and_only_one_of_them() {
    assert_eq!(value_of(r#"{"key":1,"value":""}"#), Ok(vec![]));
    assert_eq!(value_of(r#"{"value":"héllo"}"#), Ok("héllo".as_bytes().to_vec()));
    assert_eq!(value_of(r#"{"value":"a\"\u00e9\ud83d\ude00\u0000"}"#), Ok("a\"é😀\0".as_bytes().to_vec()));
    assert_eq!(value_of(r#"{"value_base64":"AP8="}"#), Ok(vec![0, 255]));
    assert_eq!(value_of(r#"{"value_base64":""}"#), Ok(vec![]));
    for (text, part) in [
        (r#"{"key":1}"#, "`value` is missing"),
        (r#"{"value":7}"#, "`value` must be a string, it is a number"),
        (r#"{"value":null}"#, "`value` must be a string, it is null"),
        (r#"{"value":{"a":1}}"#, "`value` must be a string, it is an object"),
        (r#"{"value":"\ud800"}"#, "`value` holds an escape"),
        (r#"{"value_base64":"AP8"}"#, "`value_base64` must be standard base64"),
        (r#"{"value_base64":"_-8="}"#, "`value_base64` must be standard base64"),
        (r#"{"value_base64":1}"#, "`value_base64` must be a string"),
        (r#"{"value":"a","value_base64":"AA=="}"#, "`value_base64` cannot stand beside `value`"),
    ] {
        let error = value_of(text).unwrap_err();
        assert!(error.contains(part), "{text}: {error}");
    }
}

#[test]
fn an_error_names_the_field_but_never_holds_a_value() {
    let error = key_of(r#"{"key":"canary-secret","value":"x"}"#).unwrap_err();
    assert!(!error.contains("canary"), "{error}");
    let error = value_of(r#"{"value_base64":"canary!"}"#).unwrap_err();
    assert!(!error.contains("canary"), "{error}");
    let long = format!("{{\"{}\":1}}", "n".repeat(5000));
    assert!(key_of(&long).unwrap_err().len() < 300);
}

#[test]
fn optional_numbers_may_be_absent_or_null() {
    let known: &[&str] = &["start", "end"];
    let object = Object::parse(br#"{"start":null}"#, known).unwrap();
    assert_eq!((object.optional_u64("start"), object.optional_u64("end")), (Ok(None), Ok(None)));
    let object = Object::parse(br#"{"start":"5","end":6}"#, known).unwrap();
    assert_eq!((object.optional_u64("start"), object.optional_u64("end")), (Ok(Some(5)), Ok(Some(6))));
    assert!(Object::parse(br#"{"start":false}"#, known).unwrap().optional_u64("start").is_err());
}

#[test]
fn queries_are_decoded_and_checked() {
    const KNOWN: &[&str] = &["key", "keys"];
    let key = |text| Query::parse(Some(text), KNOWN).and_then(|query| query.u64("key"));
    assert_eq!(key("key=7"), Ok(7));
    assert_eq!(key("%6bey=%37&"), Ok(7));
    for text in [
        "key=",
        "key",
        "key=-1",
        "key=1.5",
        "key=+1",
        "key=%2B1",
        "key=%",
        "key=%zz",
        "key=%ff",
        "key=18446744073709551616",
    ] {
        assert!(matches!(key(text), Err(FieldError::Invalid { .. })), "{text}");
    }
    assert_eq!(key(""), Err(FieldError::Missing { field: "key" }));
    assert!(matches!(key("key=1&key=2"), Err(FieldError::Duplicate { .. })));
    assert!(matches!(key("key=1&x=2"), Err(FieldError::Unknown { .. })));
    let strings = |text| Query::parse(Some(text), KNOWN).and_then(|query| query.keys_as_strings());
    assert_eq!(
        (strings(""), strings("keys=number"), strings("keys=string")),
        (Ok(false), Ok(false), Ok(true))
    );
    assert!(strings("keys=bigint").is_err());
}
