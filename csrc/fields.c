/* The fields of every message. Written by tools/gen_fields.py from proto/: change those and run it. */
#include "object.h"

/* clang-format off */
extern const struct tykb_type tykb_type_StringSlice;
extern const struct tykb_type tykb_type_ReturnOverrides;
extern const struct tykb_type tykb_type_MiniRequestObject;
extern const struct tykb_type tykb_type_Header;
extern const struct tykb_type tykb_type_ResponseObject;
extern const struct tykb_type tykb_type_AccessSpec;
extern const struct tykb_type tykb_type_AccessDefinition;
extern const struct tykb_type tykb_type_BasicAuthData;
extern const struct tykb_type tykb_type_JWTData;
extern const struct tykb_type tykb_type_Monitor;
extern const struct tykb_type tykb_type_SessionState;
extern const struct tykb_type tykb_type_Object;
extern const struct tykb_type tykb_type_Event;
extern const struct tykb_type tykb_type_EventReply;

static const struct tykb_field fields_StringSlice[] = {
    {"items", 1, 0, TYKB_KIND_STRING, TYKB_REPEATED, NULL},
};
static const int8_t by_number_StringSlice[] = {-1, 0};
const struct tykb_type tykb_type_StringSlice = {"StringSlice", fields_StringSlice, 1, 1, by_number_StringSlice, -1, -1};

static const struct tykb_field fields_ReturnOverrides[] = {
    {"response_code", 1, 0, TYKB_KIND_INT32, TYKB_SINGULAR, NULL},
    {"response_error", 2, 1, TYKB_KIND_STRING, TYKB_SINGULAR, NULL},
    {"headers", 3, 2, TYKB_KIND_STRING, TYKB_MAP, NULL},
    {"override_error", 4, 3, TYKB_KIND_BOOL, TYKB_SINGULAR, NULL},
    {"response_body", 5, 4, TYKB_KIND_STRING, TYKB_SINGULAR, NULL},
};
static const int8_t by_number_ReturnOverrides[] = {-1, 0, 1, 2, 3, 4};
const struct tykb_type tykb_type_ReturnOverrides = {"ReturnOverrides", fields_ReturnOverrides, 5, 5, by_number_ReturnOverrides, -1, -1};

static const struct tykb_field fields_MiniRequestObject[] = {
    {"headers", 1, 0, TYKB_KIND_STRING, TYKB_MAP, NULL},
    {"set_headers", 2, 1, TYKB_KIND_STRING, TYKB_MAP, NULL},
    {"delete_headers", 3, 2, TYKB_KIND_STRING, TYKB_REPEATED, NULL},
    {"body", 4, 3, TYKB_KIND_STRING, TYKB_SINGULAR, NULL},
    {"url", 5, 4, TYKB_KIND_STRING, TYKB_SINGULAR, NULL},
    {"params", 6, 5, TYKB_KIND_STRING, TYKB_MAP, NULL},
    {"add_params", 7, 6, TYKB_KIND_STRING, TYKB_MAP, NULL},
    {"extended_params", 8, 7, TYKB_KIND_STRING, TYKB_MAP, NULL},
    {"delete_params", 9, 8, TYKB_KIND_STRING, TYKB_REPEATED, NULL},
    {"return_overrides", 10, 9, TYKB_KIND_MESSAGE, TYKB_SINGULAR, &tykb_type_ReturnOverrides},
    {"method", 11, 10, TYKB_KIND_STRING, TYKB_SINGULAR, NULL},
    {"request_uri", 12, 11, TYKB_KIND_STRING, TYKB_SINGULAR, NULL},
    {"scheme", 13, 12, TYKB_KIND_STRING, TYKB_SINGULAR, NULL},
    {"raw_body", 14, 13, TYKB_KIND_BYTES, TYKB_SINGULAR, NULL},
};
static const int8_t by_number_MiniRequestObject[] = {-1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13};
const struct tykb_type tykb_type_MiniRequestObject = {"MiniRequestObject", fields_MiniRequestObject, 14, 14, by_number_MiniRequestObject, 3, 13};

static const struct tykb_field fields_Header[] = {
    {"key", 1, 0, TYKB_KIND_STRING, TYKB_SINGULAR, NULL},
    {"values", 2, 1, TYKB_KIND_STRING, TYKB_REPEATED, NULL},
};
static const int8_t by_number_Header[] = {-1, 0, 1};
const struct tykb_type tykb_type_Header = {"Header", fields_Header, 2, 2, by_number_Header, -1, -1};

static const struct tykb_field fields_ResponseObject[] = {
    {"status_code", 1, 0, TYKB_KIND_INT32, TYKB_SINGULAR, NULL},
    {"raw_body", 2, 1, TYKB_KIND_BYTES, TYKB_SINGULAR, NULL},
    {"body", 3, 2, TYKB_KIND_STRING, TYKB_SINGULAR, NULL},
    {"headers", 4, 3, TYKB_KIND_STRING, TYKB_MAP, NULL},
    {"multivalue_headers", 5, 4, TYKB_KIND_MESSAGE, TYKB_REPEATED, &tykb_type_Header},
};
static const int8_t by_number_ResponseObject[] = {-1, 0, 1, 2, 3, 4};
const struct tykb_type tykb_type_ResponseObject = {"ResponseObject", fields_ResponseObject, 5, 5, by_number_ResponseObject, 2, 1};

static const struct tykb_field fields_AccessSpec[] = {
    {"url", 1, 0, TYKB_KIND_STRING, TYKB_SINGULAR, NULL},
    {"methods", 2, 1, TYKB_KIND_STRING, TYKB_REPEATED, NULL},
};
static const int8_t by_number_AccessSpec[] = {-1, 0, 1};
const struct tykb_type tykb_type_AccessSpec = {"AccessSpec", fields_AccessSpec, 2, 2, by_number_AccessSpec, -1, -1};

static const struct tykb_field fields_AccessDefinition[] = {
    {"api_name", 1, 0, TYKB_KIND_STRING, TYKB_SINGULAR, NULL},
    {"api_id", 2, 1, TYKB_KIND_STRING, TYKB_SINGULAR, NULL},
    {"versions", 3, 2, TYKB_KIND_STRING, TYKB_REPEATED, NULL},
    {"allowed_urls", 4, 3, TYKB_KIND_MESSAGE, TYKB_REPEATED, &tykb_type_AccessSpec},
};
static const int8_t by_number_AccessDefinition[] = {-1, 0, 1, 2, 3};
const struct tykb_type tykb_type_AccessDefinition = {"AccessDefinition", fields_AccessDefinition, 4, 4, by_number_AccessDefinition, -1, -1};

static const struct tykb_field fields_BasicAuthData[] = {
    {"password", 1, 0, TYKB_KIND_STRING, TYKB_SINGULAR, NULL},
    {"hash", 2, 1, TYKB_KIND_STRING, TYKB_SINGULAR, NULL},
};
static const int8_t by_number_BasicAuthData[] = {-1, 0, 1};
const struct tykb_type tykb_type_BasicAuthData = {"BasicAuthData", fields_BasicAuthData, 2, 2, by_number_BasicAuthData, -1, -1};

static const struct tykb_field fields_JWTData[] = {
    {"secret", 1, 0, TYKB_KIND_STRING, TYKB_SINGULAR, NULL},
};
static const int8_t by_number_JWTData[] = {-1, 0};
const struct tykb_type tykb_type_JWTData = {"JWTData", fields_JWTData, 1, 1, by_number_JWTData, -1, -1};

static const struct tykb_field fields_Monitor[] = {
    {"trigger_limits", 1, 0, TYKB_KIND_DOUBLE, TYKB_REPEATED, NULL},
};
static const int8_t by_number_Monitor[] = {-1, 0};
const struct tykb_type tykb_type_Monitor = {"Monitor", fields_Monitor, 1, 1, by_number_Monitor, -1, -1};

static const struct tykb_field fields_SessionState[] = {
    {"last_check", 1, 0, TYKB_KIND_INT64, TYKB_SINGULAR, NULL},
    {"allowance", 2, 1, TYKB_KIND_DOUBLE, TYKB_SINGULAR, NULL},
    {"rate", 3, 2, TYKB_KIND_DOUBLE, TYKB_SINGULAR, NULL},
    {"per", 4, 3, TYKB_KIND_DOUBLE, TYKB_SINGULAR, NULL},
    {"expires", 5, 4, TYKB_KIND_INT64, TYKB_SINGULAR, NULL},
    {"quota_max", 6, 5, TYKB_KIND_INT64, TYKB_SINGULAR, NULL},
    {"quota_renews", 7, 6, TYKB_KIND_INT64, TYKB_SINGULAR, NULL},
    {"quota_remaining", 8, 7, TYKB_KIND_INT64, TYKB_SINGULAR, NULL},
    {"quota_renewal_rate", 9, 8, TYKB_KIND_INT64, TYKB_SINGULAR, NULL},
    {"access_rights", 10, 9, TYKB_KIND_MESSAGE, TYKB_MAP, &tykb_type_AccessDefinition},
    {"org_id", 11, 10, TYKB_KIND_STRING, TYKB_SINGULAR, NULL},
    {"oauth_client_id", 12, 11, TYKB_KIND_STRING, TYKB_SINGULAR, NULL},
    {"oauth_keys", 13, 12, TYKB_KIND_STRING, TYKB_MAP, NULL},
    {"basic_auth_data", 14, 13, TYKB_KIND_MESSAGE, TYKB_SINGULAR, &tykb_type_BasicAuthData},
    {"jwt_data", 15, 14, TYKB_KIND_MESSAGE, TYKB_SINGULAR, &tykb_type_JWTData},
    {"hmac_enabled", 16, 15, TYKB_KIND_BOOL, TYKB_SINGULAR, NULL},
    {"hmac_secret", 17, 16, TYKB_KIND_STRING, TYKB_SINGULAR, NULL},
    {"is_inactive", 18, 17, TYKB_KIND_BOOL, TYKB_SINGULAR, NULL},
    {"apply_policy_id", 19, 18, TYKB_KIND_STRING, TYKB_SINGULAR, NULL},
    {"data_expires", 20, 19, TYKB_KIND_INT64, TYKB_SINGULAR, NULL},
    {"monitor", 21, 20, TYKB_KIND_MESSAGE, TYKB_SINGULAR, &tykb_type_Monitor},
    {"enable_detailed_recording", 22, 21, TYKB_KIND_BOOL, TYKB_SINGULAR, NULL},
    {"metadata", 23, 22, TYKB_KIND_STRING, TYKB_MAP, NULL},
    {"tags", 24, 23, TYKB_KIND_STRING, TYKB_REPEATED, NULL},
    {"alias", 25, 24, TYKB_KIND_STRING, TYKB_SINGULAR, NULL},
    {"last_updated", 26, 25, TYKB_KIND_STRING, TYKB_SINGULAR, NULL},
    {"id_extractor_deadline", 27, 26, TYKB_KIND_INT64, TYKB_SINGULAR, NULL},
    {"session_lifetime", 28, 27, TYKB_KIND_INT64, TYKB_SINGULAR, NULL},
    {"apply_policies", 29, 28, TYKB_KIND_STRING, TYKB_REPEATED, NULL},
    {"certificate", 30, 29, TYKB_KIND_STRING, TYKB_SINGULAR, NULL},
    {"max_query_depth", 31, 30, TYKB_KIND_INT64, TYKB_SINGULAR, NULL},
    {"key_id", 32, 31, TYKB_KIND_STRING, TYKB_SINGULAR, NULL},
    {"post_expiry_action", 33, 32, TYKB_KIND_STRING, TYKB_SINGULAR, NULL},
    {"post_expiry_grace_period", 34, 33, TYKB_KIND_INT64, TYKB_SINGULAR, NULL},
};
static const int8_t by_number_SessionState[] = {-1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33};
const struct tykb_type tykb_type_SessionState = {"SessionState", fields_SessionState, 34, 34, by_number_SessionState, -1, -1};

static const struct tykb_field fields_Object[] = {
    {"hook_type", 1, 0, TYKB_KIND_ENUM, TYKB_SINGULAR, NULL},
    {"hook_name", 2, 1, TYKB_KIND_STRING, TYKB_SINGULAR, NULL},
    {"request", 3, 2, TYKB_KIND_MESSAGE, TYKB_SINGULAR, &tykb_type_MiniRequestObject},
    {"session", 4, 3, TYKB_KIND_MESSAGE, TYKB_SINGULAR, &tykb_type_SessionState},
    {"metadata", 5, 4, TYKB_KIND_STRING, TYKB_MAP, NULL},
    {"spec", 6, 5, TYKB_KIND_STRING, TYKB_MAP, NULL},
    {"response", 7, 6, TYKB_KIND_MESSAGE, TYKB_SINGULAR, &tykb_type_ResponseObject},
};
static const int8_t by_number_Object[] = {-1, 0, 1, 2, 3, 4, 5, 6};
const struct tykb_type tykb_type_Object = {"Object", fields_Object, 7, 7, by_number_Object, -1, -1};

static const struct tykb_field fields_Event[] = {
    {"payload", 1, 0, TYKB_KIND_STRING, TYKB_SINGULAR, NULL},
};
static const int8_t by_number_Event[] = {-1, 0};
const struct tykb_type tykb_type_Event = {"Event", fields_Event, 1, 1, by_number_Event, -1, -1};

static const int8_t by_number_EventReply[] = {-1};
const struct tykb_type tykb_type_EventReply = {"EventReply", NULL, 0, 0, by_number_EventReply, -1, -1};

const struct tykb_type *const tykb_types[] = {&tykb_type_StringSlice, &tykb_type_ReturnOverrides, &tykb_type_MiniRequestObject, &tykb_type_Header, &tykb_type_ResponseObject, &tykb_type_AccessSpec, &tykb_type_AccessDefinition, &tykb_type_BasicAuthData, &tykb_type_JWTData, &tykb_type_Monitor, &tykb_type_SessionState, &tykb_type_Object, &tykb_type_Event, &tykb_type_EventReply, NULL};
/* clang-format on */
