//! `POST /v1/batch`: several operations, all or none of them, each with what it expects of its key.

use bytes::Bytes;
use kyro_engine::Condition;
use serde_json::value::RawValue;

use crate::answer::{self, Answer};
use crate::call::{Call, Form, lines};
use crate::fields::{FieldError, Object, array};
use crate::frame::{self, Op, Operation};
use crate::metrics::Stopwatch;
use crate::problem::{Code, Problem};
use crate::write::write;

const FIELDS: &[&str] = &["op", "key", "value", "value_base64", "if_offset", "if_absent", "if_present"];

/// `POST /v1/batch`
pub(crate) async fn post(call: Call) -> Answer {
    call.query(&[])?;
    let form = Form::of_body(&call.head.headers, &[Form::Json, Form::Ndjson, Form::Binary])?;
    let (received, _, app, client) = call.read_body().await?;
    let limits = &app.limits;
    let operations = operations(&received.bytes, form, limits.max_batch_keys, limits.max_value_bytes)?;
    crate::service::charge_keys(&app, &client, operations.len())?;
    let latency = Stopwatch::start(&app.metrics.append_latency);
    let committed = write(app.engine()?, &operations).await?;
    latency.stop();
    Ok(answer::json(format!(
        "{{\"offset\":{},\"last_offset\":{},\"count\":{}}}",
        committed.first_offset,
        committed.last_offset,
        operations.len()
    )))
}

fn operations(
    body: &Bytes,
    form: Form,
    limit: usize,
    max_value_bytes: u32,
) -> Result<Vec<Operation>, Problem> {
    let operations: Vec<Operation> = match form {
        Form::Binary => frame::read_operations(body.clone(), max_value_bytes)?,
        Form::Ndjson => {
            let parsed =
                lines(body).map(|(line, text)| operation(text).map_err(|error| at("line", line, error)));
            parsed.take(limit + 1).collect::<Result<_, _>>()?
        }
        _ => {
            let items: Vec<&RawValue> = items(body)?;
            let numbered = items.iter().enumerate().take(limit + 1);
            let parsed = numbered.map(|(index, raw)| {
                operation(raw.get().as_bytes()).map_err(|error| at("operation", index, error))
            });
            parsed.collect::<Result<_, _>>()?
        }
    };
    if operations.is_empty() {
        return Err(FieldError::Missing { field: "operations" }.into());
    }
    if operations.len() > limit {
        return Err(Problem::new(Code::BatchTooLarge, format!("more than {limit} operations")));
    }
    Ok(operations)
}

/// The operations of `{"operations":[…]}`, or of an array.
fn items(body: &[u8]) -> Result<Vec<&RawValue>, FieldError> {
    if body.trim_ascii_start().starts_with(b"[") {
        return array(body);
    }
    let object = Object::parse(body, &["operations"])?;
    array(object.raw("operations")?.as_bytes())
}

fn at(what: &str, place: usize, error: FieldError) -> Problem {
    let problem = Problem::from(error);
    Problem { detail: format!("{what} {place}: {}", problem.detail).into(), ..problem }
}

/// One operation, such as `{"op":"put","key":1,"value":"a","if_offset":7}`.
pub(crate) fn operation(text: &[u8]) -> Result<Operation, FieldError> {
    let object = Object::parse(text, FIELDS)?;
    let op = match object.text("op")?.as_ref() {
        "put" => {
            let value = Bytes::from(object.bytes("value", "value_base64")?.into_owned());
            Op::Put { key: object.u64("key")?, value }
        }
        "delete" => {
            object.refuse(&["value", "value_base64"], "a delete has no value")?;
            Op::Delete { key: object.u64("key")? }
        }
        "append" => {
            object.refuse(&["key", "if_offset", "if_absent", "if_present"], "an append has no key")?;
            Op::Append { payload: Bytes::from(object.bytes("value", "value_base64")?.into_owned()) }
        }
        _ => return Err(FieldError::invalid("op", "must be `put`, `delete` or `append`")),
    };
    let offset = object.optional_u64("if_offset")?.map(Condition::Offset);
    let absent = object.truth("if_absent")?.then_some(Condition::Absent);
    let present = object.truth("if_present")?.then_some(Condition::Present);
    let mut expected = [offset, absent, present].into_iter().flatten();
    let first = expected.next();
    if expected.next().is_some() {
        return Err(FieldError::invalid("if_offset", "cannot stand beside another condition"));
    }
    Ok(Operation { op, expected: first })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, form: Form) -> Result<Vec<Operation>, String> {
        operations(&Bytes::copy_from_slice(text.as_bytes()), form, 3, 100)
            .map_err(|problem| problem.detail.into_owned())
    }

    #[test]
    fn the_three_forms_say_the_same() {
        let put = Operation {
            op: Op::Put { key: 1, value: Bytes::from_static(b"a") },
            expected: Some(Condition::Offset(7)),
        };
        let delete = Operation { op: Op::Delete { key: u64::MAX }, expected: None };
        let expected = Ok(vec![put, delete]);
        let one = r#"{"op":"put","key":1,"value":"a","if_offset":7}"#;
        let two = r#"{"op":"delete","key":"18446744073709551615"}"#;
        assert_eq!(parse(&format!("[{one},{two}]"), Form::Json), expected);
        assert_eq!(parse(&format!("{{\"operations\":[{one},{two}]}}"), Form::Json), expected);
        assert_eq!(parse(&format!("{one}\n\n{two}\n"), Form::Ndjson), expected);
    }

    #[test]
    fn what_makes_no_sense_is_named_with_its_place() {
        for (text, form, part) in [
            ("", Form::Json, "there is nothing"),
            ("[]", Form::Json, "`operations` is missing"),
            ("[1]", Form::Json, "operation 0: not a JSON object"),
            (
                "{\"op\":\"put\",\"key\":1,\"value\":\"a\"}\n{\"op\":\"merge\",\"key\":1}",
                Form::Ndjson,
                "line 2: `op` must be",
            ),
            ("[{\"op\":\"put\",\"key\":1}]", Form::Json, "operation 0: `value` is missing"),
            ("[{\"op\":\"delete\",\"key\":1,\"value\":\"secret\"}]", Form::Json, "a delete has no value"),
            ("[{\"op\":\"append\",\"key\":1,\"value\":\"secret\"}]", Form::Json, "an append has no key"),
            (
                "[{\"op\":\"put\",\"key\":1,\"value\":\"secret\",\"ttl\":1}]",
                Form::Json,
                "`ttl` is not a field",
            ),
            (
                "[{\"op\":\"put\",\"key\":1,\"value\":\"secret\",\"if_absent\":true,\"if_offset\":1}]",
                Form::Json,
                "another condition",
            ),
            (
                "[{\"op\":\"put\",\"key\":1,\"value\":\"secret\",\"if_absent\":1}]",
                Form::Json,
                "`if_absent` must be",
            ),
        ] {
            let error = parse(text, form).unwrap_err();
            assert!(error.contains(part) && !error.contains("secret"), "{text}: {error}");
        }
        let delete = r#"{"op":"delete","key":1}"#;
        let four = [delete; 4].join(",");
        assert!(parse(&format!("[{four}]"), Form::Json).unwrap_err().contains("more than 3"));
    }
}
