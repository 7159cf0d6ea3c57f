//! What most use Ratify for: an image that the real `notation` signed, by the verifier and the certificates
//! that the chart makes of `notationCerts`.

use super::lab::{Lab, assert_done, assert_refused};
use crate::parity::machines::{PASSWORD, USER};

pub(super) async fn what_is_signed_is_created(lab: &Lab) {
    let [signed, other, bare] = ["signed/app", "signed/other", "signed/bare"].map(|repository| {
        let image = lab.site.registry.put_image(repository, "v1", repository.to_owned()).unwrap();
        let path = format!("{}/{repository}", lab.site.registry.host());
        [format!("{path}:v1"), format!("{path}@{}", image.digest)]
    });
    let authority = lab.site.helm.folder().join("registry-ca.pem");
    for ([_, pinned], key) in [(&signed, "release"), (&other, "other")] {
        lab.notary.sign_by_password(pinned, key, &authority, [USER, PASSWORD]).await;
    }
    for (name, image) in [("signed", &signed[0]), ("pinned", &signed[1])] {
        assert_done(&lab.run("default", name, image).await);
    }
    let image =
        lab.site.cluster.get_json("pod", None, "signed").await["spec"]["containers"][0]["image"]
            .clone();
    assert_eq!(image, signed[1].as_str());
    let refused = lab.run("default", "other", &other[0]).await;
    assert_refused(&refused, &format!("{} is refused: verifier verifier-notation: ", other[1]));
    assert_refused(&refused, "signature is not produced by a trusted signer");
    let refused = lab.run("default", "bare", &bare[0]).await;
    assert_refused(&refused, &format!("No verification results for the artifact {}", bare[1]));
}
