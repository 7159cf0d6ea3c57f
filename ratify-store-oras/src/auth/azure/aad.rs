//! [`Identity`]: who this process is for Entra (Azure AD), and the token that says so. The two ways
//! to get one are Microsoft's own credentials, over our HTTP client.

use std::{
    fmt,
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    time::{Instant, SystemTime},
};

use azure_core::{
    cloud::{CloudConfiguration, CustomConfiguration},
    credentials::{AccessToken, TokenCredential},
    error::{Error, ErrorKind},
    http::{
        AsyncRawResponse, Body, ClientMethodOptions, ClientOptions, HttpClient, Request,
        RetryOptions, Transport, headers::Headers,
    },
};
use azure_identity::{
    ClientAssertion, ClientAssertionCredential, ClientAssertionCredentialOptions,
    ManagedIdentityCredential, ManagedIdentityCredentialOptions, UserAssignedId,
};
use reqwest::header::{HeaderName, HeaderValue};
use url::Url;

use super::{CloudCall, CloudHttp, Secret, clock, token_file};

/// What the token is for: any of Azure's registries.
pub(super) const SCOPE: &str = "https://containerregistry.azure.net/.default";
/// The managed identity's credential tries again for up to 72 seconds, whatever its options say.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);

/// Who this process is.
pub(super) enum Identity {
    /// A service account, by the token in a file.
    Workload { tenant: String, client: String, authority: Url, token_file: PathBuf },
    /// The machine's or the service's identity of this client.
    Managed { client: String },
}

/// An access token, and until when it is good.
#[derive(Clone)]
pub(super) struct AadToken {
    pub(super) secret: Secret,
    pub(super) good_until: Instant,
}

/// Reads the service account's token when it is asked, so that a file that appears late or is
/// replaced is seen. The crate's own reader keeps it for ten minutes.
#[derive(Debug)]
struct Assertion(PathBuf);

/// Microsoft's seam to HTTP, over ours: its address rule, bounds and timeouts hold.
struct Over(CloudHttp);

/// A reason of ours, on its way through the crate's error.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Told(String);

impl Identity {
    /// A new token for a scope. Each time by a new credential: what is kept is kept in one place, ours.
    ///
    /// # Errors
    /// A clause that holds neither a secret nor the text of an answer.
    pub(super) async fn token(&self, http: &CloudHttp, scope: &str) -> Result<AadToken, String> {
        let credential = self.credential(http).map_err(|error| reason(&error))?;
        let token = tokio::time::timeout(PATIENCE, credential.get_token(&[scope], None)).await;
        let token = token.map_err(|_| "no answer in time".to_owned())?;
        let AccessToken { token, expires_on, .. } = token.map_err(|error| reason(&error))?;
        let good_until = clock::good_until(expires_on.into(), SystemTime::now(), Instant::now());
        Ok(AadToken { secret: Secret::new(token.secret()), good_until })
    }

    fn credential(&self, http: &CloudHttp) -> azure_core::Result<Arc<dyn TokenCredential>> {
        let mut client_options = ClientOptions {
            transport: Some(Transport::new(Arc::new(Over(http.clone())))),
            retry: RetryOptions::none(),
            ..ClientOptions::default()
        };
        Ok(match self {
            Self::Managed { client } => {
                ManagedIdentityCredential::new(Some(ManagedIdentityCredentialOptions {
                    user_assigned_id: Some(UserAssignedId::ClientId(client.clone())),
                    client_options,
                }))?
            }
            Self::Workload { tenant, client, authority, token_file } => {
                let mut cloud = CustomConfiguration::default();
                cloud.authority_host = authority.to_string();
                client_options.cloud = Some(Arc::new(CloudConfiguration::Custom(cloud)));
                ClientAssertionCredential::new(
                    tenant.clone(),
                    client.clone(),
                    Assertion(token_file.clone()),
                    Some(ClientAssertionCredentialOptions { client_options }),
                )?
            }
        })
    }
}

impl ClientAssertion for Assertion {
    fn secret<'a, 'b, 'c>(
        &'a self,
        _: Option<ClientMethodOptions<'b>>,
    ) -> Pin<Box<dyn Future<Output = azure_core::Result<String>> + Send + 'c>>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        // A small local file: reading it takes less than handing it to another thread.
        let token = token_file::read(&self.0).map(|token| token.reveal().to_owned());
        Box::pin(std::future::ready(token.map_err(told)))
    }
}

impl HttpClient for Over {
    fn execute_request<'a, 'b, 'c>(
        &'a self,
        request: &'b Request,
    ) -> Pin<Box<dyn Future<Output = azure_core::Result<AsyncRawResponse>> + Send + 'c>>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        Box::pin(async move {
            let call = ours(request).ok_or_else(|| told("this request cannot be sent"))?;
            let answer = self.0.send(&call).await.map_err(|error| told(error.to_string()))?;
            // No header of an answer means anything to these credentials.
            let status = answer.status.as_u16().into();
            Ok(AsyncRawResponse::from_bytes(status, Headers::new(), answer.body))
        })
    }
}

impl fmt::Debug for Over {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Over")
    }
}

/// The crate's request as one of ours.
fn ours(request: &Request) -> Option<CloudCall> {
    let method = request.method().as_str().parse().ok()?;
    let mut call = CloudCall::new(method, request.url().clone());
    for (name, value) in request.headers().iter() {
        let name = HeaderName::from_bytes(name.as_str().as_bytes()).ok()?;
        call = call.header(name, HeaderValue::from_str(value.as_str()).ok()?);
    }
    match request.body() {
        Body::Bytes(bytes) => call.body = bytes.clone(),
        _ => return None,
    }
    Some(call)
}

/// This error is not tried again: ours says what was tried.
fn told(why: impl Into<String>) -> Error {
    Error::new(ErrorKind::Other, Told(why.into()))
}

/// Our own reason where there is one within, else the status of the answer. The crate's texts hold
/// what the server says.
fn reason(error: &Error) -> String {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(Told(why)) = error.downcast_ref() {
            return why.clone();
        }
        if let Some(ErrorKind::HttpResponse { status, error_code, .. }) =
            error.downcast_ref().map(Error::kind)
        {
            let code = error_code.as_deref().filter(|code| is_code(code));
            let code = code.map(|code| format!(", AADSTS{code}")).unwrap_or_default();
            return format!("response status code {status}{code}");
        }
        next = error.source();
    }
    "the answer has no usable token".into()
}

/// The numbers of Entra's errors, with commas between them.
fn is_code(text: &str) -> bool {
    (1..=80).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit() || b == b',')
}
