//! Component values as JSON and back, by the types that the component itself declares.

use serde_json::{Map, Number, Value, json};
use wasmtime::component::types::{Record, Variant};
use wasmtime::component::{Type, Val};

/// `content-type` is spelled `content_type`.
fn underscored(name: &str) -> String {
    name.replace('-', "_")
}

/// The value in JSON.
pub(super) fn of(value: &Val) -> Value {
    let optional = |value: &Option<Box<Val>>| value.as_deref().map_or(Value::Null, of);
    match value {
        Val::Bool(value) => json!(value),
        Val::S8(value) => json!(value),
        Val::U8(value) => json!(value),
        Val::S16(value) => json!(value),
        Val::U16(value) => json!(value),
        Val::S32(value) => json!(value),
        Val::U32(value) => json!(value),
        Val::S64(value) => json!(value),
        Val::U64(value) => json!(value),
        Val::Float32(value) => json!(value),
        Val::Float64(value) => json!(value),
        Val::Char(value) => json!(value),
        Val::String(value) => json!(value),
        Val::List(items) | Val::Tuple(items) | Val::FixedLengthList(items) => items.iter().map(of).collect(),
        Val::Map(pairs) => pairs.iter().map(|(key, value)| json!([of(key), of(value)])).collect(),
        Val::Record(fields) => fields
            .iter()
            .map(|(name, value)| (underscored(name), of(value)))
            .collect::<Map<_, _>>()
            .into(),
        Val::Variant(name, None) | Val::Enum(name) => underscored(name).into(),
        Val::Variant(name, Some(payload)) => Map::from_iter([(underscored(name), of(payload))]).into(),
        Val::Option(value) => optional(value),
        Val::Result(Ok(value)) => json!({ "ok": optional(value) }),
        Val::Result(Err(value)) => json!({ "error": optional(value) }),
        Val::Flags(names) => names.iter().map(|name| underscored(name)).collect(),
        Val::Resource(_) | Val::Future(_) | Val::Stream(_) | Val::ErrorContext(_) => {
            json!("a handle")
        }
    }
}

/// The JSON as a value of the type. What a record's JSON leaves out is absent or empty.
///
/// # Errors
/// The place and what stands there.
pub(super) fn to(ty: &Type, value: &Value) -> Result<Val, String> {
    let unfit = |wanted: &str| format!("{wanted} is wanted, not {}", shown(value));
    Ok(match ty {
        Type::Bool => Val::Bool(value.as_bool().ok_or_else(|| unfit("true or false"))?),
        Type::S8 => Val::S8(whole(value)?),
        Type::U8 => Val::U8(whole(value)?),
        Type::S16 => Val::S16(whole(value)?),
        Type::U16 => Val::U16(whole(value)?),
        Type::S32 => Val::S32(whole(value)?),
        Type::U32 => Val::U32(whole(value)?),
        Type::S64 => Val::S64(whole(value)?),
        Type::U64 => Val::U64(whole(value)?),
        #[expect(clippy::cast_possible_truncation, reason = "the type holds no more")]
        Type::Float32 => Val::Float32(value.as_f64().ok_or_else(|| unfit("a number"))? as f32),
        Type::Float64 => Val::Float64(value.as_f64().ok_or_else(|| unfit("a number"))?),
        Type::Char => {
            let mut signs = value.as_str().unwrap_or_default().chars();
            match (signs.next(), signs.next()) {
                (Some(sign), None) => Val::Char(sign),
                _ => return Err(unfit("one character")),
            }
        }
        Type::String => Val::String(value.as_str().ok_or_else(|| unfit("a text"))?.to_owned()),
        Type::List(list) => Val::List(items(value, |_| Some(list.ty()))?),
        Type::Tuple(tuple) => {
            let types: Vec<Type> = tuple.types().collect();
            let items = items(value, |place| types.get(place).cloned())?;
            if items.len() != types.len() {
                return Err(unfit("a list of another length"));
            }
            Val::Tuple(items)
        }
        Type::Record(fields) => record(fields, value)?,
        Type::Variant(cases) => variant(cases, value)?,
        Type::Enum(known) => {
            let name = value.as_str().ok_or_else(|| unfit("a name"))?;
            let found = known.names().find(|known| underscored(known) == name);
            Val::Enum(found.ok_or_else(|| format!("there is no `{name}`"))?.to_owned())
        }
        Type::Option(option) => match value {
            Value::Null => Val::Option(None),
            value => Val::Option(Some(Box::new(to(&option.ty(), value)?))),
        },
        Type::Result(result) => {
            let part = |ty: Option<Type>, value: &Value| ty.map(|ty| to(&ty, value).map(Box::new)).transpose();
            match (value.get("ok"), value.get("error")) {
                (Some(good), None) => Val::Result(Ok(part(result.ok(), good)?)),
                (None, Some(bad)) => Val::Result(Err(part(result.err(), bad)?)),
                _ => return Err(unfit("`ok` or `error`")),
            }
        }
        Type::Flags(known) => {
            let names = value.as_array().ok_or_else(|| unfit("a list of names"))?;
            let flag = |name: &Value| {
                let found = known
                    .names()
                    .find(|known| Some(underscored(known).as_str()) == name.as_str());
                found
                    .map(str::to_owned)
                    .ok_or_else(|| format!("there is no flag {name}"))
            };
            Val::Flags(names.iter().map(flag).collect::<Result<_, _>>()?)
        }
        Type::Map(_)
        | Type::FixedLengthList(_)
        | Type::Own(_)
        | Type::Borrow(_)
        | Type::Future(_)
        | Type::Stream(_)
        | Type::ErrorContext => return Err("values of this type are not played".to_owned()),
    })
}

fn record(ty: &Record, value: &Value) -> Result<Val, String> {
    let given = value
        .as_object()
        .ok_or_else(|| format!("an object is wanted, not {}", shown(value)))?;
    let known: Vec<String> = ty.fields().map(|field| underscored(field.name)).collect();
    if let Some(unknown) = given.keys().find(|name| !known.contains(name)) {
        return Err(format!("there is no field `{unknown}`; there are {}", known.join(", ")));
    }
    let fields = ty.fields().map(|field| {
        let place = underscored(field.name);
        let value = match given.get(&place) {
            Some(value) => to(&field.ty, value),
            None => absent(&field.ty).ok_or_else(|| "it is missing".to_owned()),
        };
        let value = value.map_err(|problem| format!("{place}: {problem}"))?;
        Ok((field.name.to_owned(), value))
    });
    Ok(Val::Record(fields.collect::<Result<_, String>>()?))
}

fn variant(ty: &Variant, value: &Value) -> Result<Val, String> {
    let (name, payload) = case(value).ok_or_else(|| format!("a case is wanted, not {}", shown(value)))?;
    let found = ty.cases().find(|case| underscored(case.name) == name);
    let case = found.ok_or_else(|| format!("there is no case `{name}`"))?;
    let payload = match (case.ty, payload) {
        (None, None) => None,
        (Some(ty), Some(payload)) => Some(Box::new(
            to(&ty, payload).map_err(|problem| format!("{name}: {problem}"))?,
        )),
        (None, Some(_)) => return Err(format!("{name}: it carries nothing")),
        (Some(_), None) => return Err(format!("{name}: what it carries is missing")),
    };
    Ok(Val::Variant(case.name.to_owned(), payload))
}

/// What stands for a field that is left out.
fn absent(ty: &Type) -> Option<Val> {
    match ty {
        Type::Option(_) => Some(Val::Option(None)),
        Type::List(_) => Some(Val::List(Vec::new())),
        _ => None,
    }
}

/// A case's name and what it carries.
fn case(value: &Value) -> Option<(&str, Option<&Value>)> {
    match value {
        Value::String(name) => Some((name, None)),
        Value::Object(fields) if fields.len() == 1 => {
            let (name, payload) = fields.iter().next()?;
            Some((name, Some(payload)))
        }
        _ => None,
    }
}

fn items(value: &Value, ty: impl Fn(usize) -> Option<Type>) -> Result<Vec<Val>, String> {
    let items = value
        .as_array()
        .ok_or_else(|| format!("a list is wanted, not {}", shown(value)))?;
    let item = |(place, item): (usize, &Value)| {
        let ty = ty(place).ok_or_else(|| format!("{place}: there is no such place"))?;
        to(&ty, item).map_err(|problem| format!("{place}: {problem}"))
    };
    items.iter().enumerate().map(item).collect()
}

fn whole<T: TryFrom<i128>>(value: &Value) -> Result<T, String> {
    let number = value.as_number().and_then(Number::as_i128);
    let whole = number.and_then(|number| T::try_from(number).ok());
    whole.ok_or_else(|| format!("a whole number that fits is wanted, not {}", shown(value)))
}

/// The kind of value, not its content, which may be long.
fn shown(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
