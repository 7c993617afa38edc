/* certificate.h - certificates for unit tests, made in memory and written where files are wanted.
 */
#ifndef CERTIFICATE_H
#define CERTIFICATE_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

struct certificate {
    EVP_PKEY *key;
    X509 *x509;
    char cert_file[64];
    char key_file[64];
};

static inline void add_extension(X509 *x509, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer, x509, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    assert_non_null(extension);
    X509_add_ext(x509, extension, -1);
    X509_EXTENSION_free(extension);
}

static inline FILE *new_file(char out_path[64], const char *folder, const char *name)
{
    snprintf(out_path, 64, "%s/%s-XXXXXX", folder, name);
    int fd = mkstemp(out_path);
    assert_true(fd >= 0);
    return fdopen(fd, "w");
}

/* issuer NULL: signed by itself, and an authority. alt NULL: a client's. */
static inline struct certificate certificate_make(const char *name, const char *alt,
                                                  const struct certificate *issuer)
{
    struct certificate made = {.key = EVP_EC_gen("P-256"), .x509 = X509_new()};
    assert_true(made.key && made.x509);
    X509_set_version(made.x509, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(made.x509), 1 + (long)(random() % 1000000));
    X509_gmtime_adj(X509_getm_notBefore(made.x509), -3600);
    X509_gmtime_adj(X509_getm_notAfter(made.x509), 86400);
    X509_set_pubkey(made.x509, made.key);
    X509_NAME *subject = X509_get_subject_name(made.x509);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const unsigned char *)name, -1, -1,
                               0);
    X509 *issuer_x509 = issuer ? issuer->x509 : made.x509;
    X509_set_issuer_name(made.x509, X509_get_subject_name(issuer_x509));
    add_extension(made.x509, issuer_x509, NID_basic_constraints,
                  issuer ? "CA:FALSE" : "critical,CA:TRUE");
    add_extension(made.x509, issuer_x509, NID_subject_key_identifier, "hash");
    if (alt)
        add_extension(made.x509, issuer_x509, NID_subject_alt_name, alt);
    assert_true(X509_sign(made.x509, issuer ? issuer->key : made.key, EVP_sha256()) > 0);
    const char *folder = getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp";
    FILE *file = new_file(made.cert_file, folder, "cert");
    PEM_write_X509(file, made.x509);
    fclose(file);
    file = new_file(made.key_file, folder, "key");
    PEM_write_PrivateKey(file, made.key, NULL, NULL, 0, NULL, NULL);
    fclose(file);
    return made;
}

static inline void certificate_end(struct certificate *certificate)
{
    unlink(certificate->cert_file);
    unlink(certificate->key_file);
    EVP_PKEY_free(certificate->key);
    X509_free(certificate->x509);
}

#endif
