//! What each method does to objects and collections.

use std::sync::Arc;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use base64::Engine as _;
use serde_json::{Value, json};

use super::options::{ListOptions, Query, Revision};
use super::reply::{self, Form, Include, List};
use super::route::{Subresource, Target};
use super::selector::FieldSelector;
use super::{ApiServer, body, negotiate, patch};
use crate::api::status::{self, Failure};
use crate::api::{Resource, meta};
use crate::objects::{DeleteOptions, Deleted, Part, Run};
use crate::store::{Key, Page, Range};

/// How many objects are taken from the store at once while a page is gathered.
const STORE_PAGE: usize = 1000;

/// What clients are told who want dependents deleted first or kept.
const NO_COLLECTOR: &str = "299 - \"propagationPolicy has no effect: this server does not collect dependents yet\"";

/// A request for objects, with everything read but the body.
pub(super) struct Call {
    pub(super) target: Target,
    pub(super) query: Query,
    pub(super) form: Form,
    method: Method,
    media: String,
}

impl ApiServer {
    /// Answers a request for objects.
    pub(super) async fn resource(&self, target: Target, parts: Parts, body: &mut Body) -> Result<Response, Failure> {
        let query = Query::parse(parts.uri.query());
        let include = match query.text("includeObject") {
            None | Some("Metadata") => Include::Metadata,
            Some("Object") => Include::Object,
            Some("None") => Include::None,
            Some(other) => return Err(Failure::bad_request(format!("includeObject: unsupported value {other:?}"))),
        };
        let form = Form { shape: negotiate::shape(&parts.headers)?, include };
        let media = body::media_type(&parts.headers).to_owned();
        let call = Call { target, query, form, method: parts.method, media };
        if call.method == Method::GET && call.target.subresource.is_none() {
            let mut options = call.query.list_options(call.target.resource)?;
            if options.watch {
                if let Some(name) = &call.target.name {
                    options.fields = options.fields.and(FieldSelector::name(name));
                }
                return self.watch(&call, options).await;
            }
        }
        let _permit = self
            .requests
            .try_acquire()
            .map_err(|_| Failure::too_many_requests("the number of requests in work", self.limits.requests_max))?;
        tokio::time::timeout(self.limits.request_timeout, self.answer_call(call, body))
            .await
            .unwrap_or_else(|_elapsed| Err(Failure::timeout()))
    }

    async fn answer_call(&self, call: Call, body: &mut Body) -> Result<Response, Failure> {
        let named = call.target.name.is_some();
        match (call.method.as_str(), named, call.target.subresource) {
            ("GET" | "HEAD", true, None | Some(Subresource::Status)) => self.show(&call).await,
            ("GET" | "HEAD", false, _) => self.list(&call).await,
            ("POST", false, _) if call.target.resource.namespaced != call.target.namespace.is_empty() => {
                self.create(call, body).await
            }
            ("PUT", true, _) => self.update(call, body).await,
            ("PATCH", true, None | Some(Subresource::Status)) => self.patch(call, body).await,
            ("DELETE", true, None) => self.delete(call, body).await,
            ("DELETE", false, _) if call.target.resource.verbs().any(|verb| verb == "deletecollection") => {
                self.delete_collection(call, body).await
            }
            _ => Err(Failure::method_not_allowed()),
        }
    }

    async fn show(&self, call: &Call) -> Result<Response, Failure> {
        let object = self.objects.read(call.resource(), &call.target.namespace, call.name()).await?;
        Ok(reply::object(StatusCode::OK, call.resource(), &object, call.form))
    }

    async fn list(&self, call: &Call) -> Result<Response, Failure> {
        let options = call.query.list_options(call.resource())?;
        let list = self.select(call.resource(), &call.target.namespace, &options).await?;
        Ok(reply::list(call.resource(), &list, call.form))
    }

    /// The objects that a list shows: selected, cut into pages, all at one revision.
    pub(super) async fn select(
        &self,
        resource: &Resource,
        namespace: &str,
        options: &ListOptions,
    ) -> Result<List, Failure> {
        let current = self.objects.store().revision();
        let (at, mut after) = match (&options.next, options.revision) {
            (Some(token), _) => read_continue(token)?,
            (None, Revision::Exact(revision)) => (Some(revision), None),
            (None, Revision::AtLeast(revision)) if revision > current => {
                return Err(Failure::revision_too_large(revision, current));
            }
            (None, _) => (None, None),
        };
        let range = Range::new(resource, namespace);
        // A token of another list could otherwise lead out of the range.
        if after.as_ref().is_some_and(|after| !range.contains(after)) {
            return Err(Failure::bad_request("continue key is not valid: it does not belong to this list"));
        }
        // Who asks for no pages would not look for a second one.
        let wanted = options.limit.map_or(usize::MAX, |limit| limit.min(self.limits.page_max));
        let mut list = List { objects: Vec::new(), revision: 0, next: None, remaining: None };
        let mut at = at;
        loop {
            let page = Page { at, after: after.clone(), limit: Some(STORE_PAGE) };
            let listing = self.objects.store().list(&range, page).await?;
            (at, list.revision) = (Some(listing.revision), listing.revision);
            let mut taken = 0_usize;
            for object in &listing.objects {
                if list.objects.len() == wanted {
                    break;
                }
                taken += 1;
                if options.labels.matches(object) && options.fields.matches(object) {
                    list.objects.push(Arc::clone(object));
                }
            }
            if let Some(last) = taken.checked_sub(1).and_then(|last| listing.objects.get(last)) {
                after = Some(Key::new(resource, meta::namespace(last), meta::name(last)));
            }
            let left = listing.objects.len() - taken + listing.remaining;
            if left == 0 {
                return Ok(list);
            }
            if list.objects.len() == wanted {
                list.next = after.as_ref().map(|after| write_continue(list.revision, after));
                list.remaining = (options.labels.is_empty() && options.fields.is_empty()).then_some(left);
                return Ok(list);
            }
        }
    }

    async fn create(&self, call: Call, body: &mut Body) -> Result<Response, Failure> {
        let (resource, run, validation) = (call.resource(), call.query.run()?, call.query.field_validation()?);
        let bytes = body::read(body, self.limits.body_bytes_max).await?;
        let mut object = body::decode(self.objects.schema(), &call.media, &bytes)?;
        let warnings = body::accept(&self.objects, resource, &mut object, validation)?;
        let created = self.objects.create(resource, &call.target.namespace, object, run).await?;
        Ok(warned(reply::object(StatusCode::CREATED, resource, &created, call.form), warnings))
    }

    async fn update(&self, call: Call, body: &mut Body) -> Result<Response, Failure> {
        let (resource, run, validation) = (call.resource(), call.query.run()?, call.query.field_validation()?);
        let (name, part) = (call.name().to_owned(), call.part());
        let bytes = body::read(body, self.limits.body_bytes_max).await?;
        let mut object = body::decode(self.objects.schema(), &call.media, &bytes)?;
        let warnings = body::accept(&self.objects, resource, &mut object, validation)?;
        let change = |_: &Value| Ok(object.clone());
        let updated = self.objects.modify(resource, (&call.target.namespace, &name), part, run, change).await?;
        Ok(warned(reply::object(StatusCode::OK, resource, &updated, call.form), warnings))
    }

    async fn patch(&self, call: Call, body: &mut Body) -> Result<Response, Failure> {
        let (resource, run, validation) = (call.resource(), call.query.run()?, call.query.field_validation()?);
        let (name, part) = (call.name().to_owned(), call.part());
        let kind = patch::Kind::of(&call.media)?;
        let bytes = body::read(body, self.limits.body_bytes_max).await?;
        let patch = patch::Patch::parse(kind, &bytes)?;
        let mut warnings = Vec::new();
        let change = |old: &Value| {
            let mut new = patch.apply(&self.objects, resource, old)?;
            warnings = body::accept(&self.objects, resource, &mut new, validation)?;
            Ok(new)
        };
        let patched = self.objects.modify(resource, (&call.target.namespace, &name), part, run, change).await?;
        Ok(warned(reply::object(StatusCode::OK, resource, &patched, call.form), warnings))
    }

    async fn delete(&self, call: Call, body: &mut Body) -> Result<Response, Failure> {
        let (resource, form) = (call.resource(), call.form);
        let (namespace, name) = (call.target.namespace.clone(), call.name().to_owned());
        let (options, warnings) = self.delete_options(&call.query, &call.media, body).await?;
        let Deleted { object, gone } = self.objects.delete(resource, (&namespace, &name), &options).await?;
        // Pods and namespaces take time to go: clients are shown how far they are.
        if !gone || resource.plural == "pods" {
            return Ok(warned(reply::object(StatusCode::OK, resource, &object, form), warnings));
        }
        Ok(warned(reply::json(StatusCode::OK, &status::success(resource, &name, meta::uid(&object))), warnings))
    }

    async fn delete_collection(&self, call: Call, body: &mut Body) -> Result<Response, Failure> {
        let (resource, form, namespace) = (call.resource(), call.form, call.target.namespace.clone());
        let selection = call.query.list_options(resource)?;
        let (options, warnings) = self.delete_options(&call.query, &call.media, body).await?;
        let mut list = self.select(resource, &namespace, &selection).await?;
        for object in &mut list.objects {
            let at = (meta::namespace(object).to_owned(), meta::name(object).to_owned());
            match self.objects.delete(resource, (&at.0, &at.1), &options).await {
                Ok(deleted) => *object = deleted.object,
                Err(failure) if failure.reason == "NotFound" => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(warned(reply::list(resource, &list, form), warnings))
    }

    /// Options of a deletion come in the body or in the query.
    async fn delete_options(
        &self,
        query: &Query,
        media: &str,
        body: &mut Body,
    ) -> Result<(DeleteOptions, Vec<HeaderValue>), Failure> {
        let bytes = body::read(body, self.limits.body_bytes_max).await?;
        let mut propagation = query.text("propagationPolicy").unwrap_or("").to_owned();
        let mut options = DeleteOptions {
            run: query.run()?,
            grace_seconds: query.number("gracePeriodSeconds")?,
            ..DeleteOptions::default()
        };
        if !bytes.is_empty() {
            let document = body::decode(self.objects.schema(), media, &bytes)?;
            let text = |pointer: &str| Some(meta::text(&document, pointer).to_owned()).filter(|text| !text.is_empty());
            options.grace_seconds = meta::number(&document, "/gracePeriodSeconds").or(options.grace_seconds);
            options.uid = text("/preconditions/uid");
            options.revision = text("/preconditions/resourceVersion");
            propagation = text("/propagationPolicy").unwrap_or(propagation);
            if meta::list(&document, "/dryRun").contains(&json!("All")) {
                options.run = Run::Dry;
            }
        }
        if options.grace_seconds.is_some_and(|seconds| seconds < 0) {
            return Err(Failure::bad_request("gracePeriodSeconds must not be negative"));
        }
        let warnings = match propagation.as_str() {
            "" | "Background" => Vec::new(),
            "Foreground" | "Orphan" => vec![HeaderValue::from_static(NO_COLLECTOR)],
            other => return Err(Failure::bad_request(format!("propagationPolicy: unsupported value {other:?}"))),
        };
        Ok((options, warnings))
    }
}

impl Call {
    pub(super) fn resource(&self) -> &'static Resource {
        self.target.resource
    }

    fn name(&self) -> &str {
        self.target.name.as_deref().unwrap_or("")
    }

    fn part(&self) -> Part {
        match self.target.subresource {
            None => Part::Main,
            Some(Subresource::Status) => Part::Status,
            Some(Subresource::Finalize) => Part::Finalize,
        }
    }
}

fn warned(mut response: Response, warnings: Vec<HeaderValue>) -> Response {
    for warning in warnings {
        response.headers_mut().append(header::WARNING, warning);
    }
    response
}

/// Where the next page of a list begins: `revision/key`, opaque to clients.
fn write_continue(revision: u64, after: &Key) -> String {
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(format!("{revision}:{}", after.as_str()))
}

fn read_continue(token: &str) -> Result<(Option<u64>, Option<Key>), Failure> {
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(token).ok();
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    let parts = text.as_deref().and_then(|text| text.split_once(':'));
    let parsed = parts.and_then(|(revision, key)| Some((revision.parse().ok()?, Key::from(key.to_owned()))));
    let (revision, key) = parsed.ok_or_else(|| Failure::bad_request("continue key is not valid"))?;
    Ok((Some(revision), Some(key)))
}
