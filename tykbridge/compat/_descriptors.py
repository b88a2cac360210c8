"""The compiled .proto files, each after those that it imports. Written by tools/gen_descriptors.py."""

from __future__ import annotations

FILES: dict[str, bytes] = {
    "coprocess_common.proto": (
        b"\n\x16coprocess_common.proto"
        b'\x12\tcoprocess"#\n\x0bStringSlice'
        b"\x12\x14\n\x05items\x18\x01 \x03(\tR\x05items*]\n\x08HookType"
        b"\x12\x0b\n\x07Unknown\x10\x00\x12\x07\n\x03Pre\x10\x01\x12\x08\n\x04Post\x10\x02"
        b"\x12\x0f\n\x0bPostKeyAuth\x10\x03\x12\x12\n\x0eCustomKeyCheck\x10\x04"
        b"\x12\x0c\n\x08Response\x10\x05b\x06proto3"
    ),
    "coprocess_return_overrides.proto": (
        b"\n coprocess_return_overrides.proto"
        b'\x12\tcoprocess"\xa8\x02\n\x0fReturnOverrides'
        b"\x12#\n\rresponse_code\x18\x01 \x01(\x05R\x0cresponseCode"
        b"\x12%\n\x0eresponse_error\x18\x02 \x01(\tR\rresponseError"
        b"\x12A\n\x07headers\x18\x03 \x03(\x0b2'.coprocess.ReturnOverrides.HeadersEntryR\x07headers"
        b"\x12%\n\x0eoverride_error\x18\x04 \x01(\x08R\roverrideError"
        b"\x12#\n\rresponse_body\x18\x05 \x01(\tR\x0cresponseBody\x1a:\n\x0cHeadersEntry"
        b"\x12\x10\n\x03key\x18\x01 \x01(\tR\x03key\x12\x14\n\x05value\x18\x02 \x01(\tR\x05value:\x028\x01b\x06proto3"
    ),
    "coprocess_mini_request_object.proto": (
        b"\n#coprocess_mini_request_object.proto"
        b'\x12\tcoprocess\x1a coprocess_return_overrides.proto"\xec\x07\n\x11MiniRequestObject'
        b"\x12C\n\x07headers\x18\x01 \x03(\x0b2).coprocess.MiniRequestObject.HeadersEntryR\x07headers"
        b"\x12M\n\x0bset_headers\x18\x02 \x03(\x0b2,.coprocess.MiniRequestObject.SetHeadersEntryR\nsetHeaders"
        b"\x12%\n\x0edelete_headers\x18\x03 \x03(\tR\rdeleteHeaders"
        b"\x12\x12\n\x04body\x18\x04 \x01(\tR\x04body\x12\x10\n\x03url\x18\x05 \x01(\tR\x03url"
        b"\x12@\n\x06params\x18\x06 \x03(\x0b2(.coprocess.MiniRequestObject.ParamsEntryR\x06params"
        b"\x12J\n\nadd_params\x18\x07 \x03(\x0b2+.coprocess.MiniRequestObject.AddParamsEntryR\taddParams"
        b"\x12Y\n\x0fextended_params\x18\x08 \x03(\x0b20.coprocess.MiniRequestObject.ExtendedParamsEntryR\x0eextended"
        b"Params\x12#\n\rdelete_params\x18\t \x03(\tR\x0cdeleteParams"
        b"\x12E\n\x10return_overrides\x18\n \x01(\x0b2\x1a.coprocess.ReturnOverridesR\x0freturnOverrides"
        b"\x12\x16\n\x06method\x18\x0b \x01(\tR\x06method"
        b"\x12\x1f\n\x0brequest_uri\x18\x0c \x01(\tR\nrequestUri"
        b"\x12\x16\n\x06scheme\x18\r \x01(\tR\x06scheme"
        b"\x12\x19\n\x08raw_body\x18\x0e \x01(\x0cR\x07rawBody\x1a:\n\x0cHeadersEntry"
        b"\x12\x10\n\x03key\x18\x01 \x01(\tR\x03key\x12\x14\n\x05value\x18\x02 \x01(\tR\x05value:\x028\x01\x1a=\n\x0f"
        b"SetHeadersEntry\x12\x10\n\x03key\x18\x01 \x01(\tR\x03key"
        b"\x12\x14\n\x05value\x18\x02 \x01(\tR\x05value:\x028\x01\x1a9\n\x0bParamsEntry"
        b"\x12\x10\n\x03key\x18\x01 \x01(\tR\x03key\x12\x14\n\x05value\x18\x02 \x01(\tR\x05value:\x028\x01\x1a<\n\x0e"
        b"AddParamsEntry\x12\x10\n\x03key\x18\x01 \x01(\tR\x03key"
        b"\x12\x14\n\x05value\x18\x02 \x01(\tR\x05value:\x028\x01\x1aA\n\x13ExtendedParamsEntry"
        b"\x12\x10\n\x03key\x18\x01 \x01(\tR\x03key\x12\x14\n\x05value\x18\x02 \x01(\tR\x05value:\x028\x01b\x06proto3"
    ),
    "coprocess_response_object.proto": (
        b"\n\x1fcoprocess_response_object.proto"
        b'\x12\tcoprocess"2\n\x06Header\x12\x10\n\x03key\x18\x01 \x01(\tR\x03key'
        b'\x12\x16\n\x06values\x18\x02 \x03(\tR\x06values"\xa0\x02\n\x0eResponseObject'
        b"\x12\x1f\n\x0bstatus_code\x18\x01 \x01(\x05R\nstatusCode"
        b"\x12\x19\n\x08raw_body\x18\x02 \x01(\x0cR\x07rawBody"
        b"\x12\x12\n\x04body\x18\x03 \x01(\tR\x04body\x12@\n\x07headers\x18\x04 \x03(\x0b2&.coprocess.ResponseObject."
        b"HeadersEntryR\x07headers\x12@\n"
        b"\x12multivalue_headers\x18\x05 \x03(\x0b2\x11.coprocess.HeaderR\x11multivalueHeaders\x1a:\n\x0cHeadersEntry"
        b"\x12\x10\n\x03key\x18\x01 \x01(\tR\x03key\x12\x14\n\x05value\x18\x02 \x01(\tR\x05value:\x028\x01b\x06proto3"
    ),
    "coprocess_session_state.proto": (
        b"\n\x1dcoprocess_session_state.proto"
        b'\x12\tcoprocess"8\n\nAccessSpec'
        b'\x12\x10\n\x03url\x18\x01 \x01(\tR\x03url\x12\x18\n\x07methods\x18\x02 \x03(\tR\x07methods"\x9a\x01\n\x10Ac'
        b"cessDefinition\x12\x19\n\x08api_name\x18\x01 \x01(\tR\x07apiName"
        b"\x12\x15\n\x06api_id\x18\x02 \x01(\tR\x05apiId\x12\x1a\n\x08versions\x18\x03 \x03(\tR\x08versions"
        b'\x128\n\x0callowed_urls\x18\x04 \x03(\x0b2\x15.coprocess.AccessSpecR\x0ballowedUrls"?\n\rBasicAuthData'
        b"\x12\x1a\n\x08password\x18\x01 \x01(\tR\x08password"
        b'\x12\x12\n\x04hash\x18\x02 \x01(\tR\x04hash"!\n\x07JWTData'
        b'\x12\x16\n\x06secret\x18\x01 \x01(\tR\x06secret"0\n\x07Monitor'
        b'\x12%\n\x0etrigger_limits\x18\x01 \x03(\x01R\rtriggerLimits"\xba\x0c\n\x0cSessionState'
        b"\x12\x1d\n\nlast_check\x18\x01 \x01(\x03R\tlastCheck"
        b"\x12\x1c\n\tallowance\x18\x02 \x01(\x01R\tallowance"
        b"\x12\x12\n\x04rate\x18\x03 \x01(\x01R\x04rate\x12\x10\n\x03per\x18\x04 \x01(\x01R\x03per"
        b"\x12\x18\n\x07expires\x18\x05 \x01(\x03R\x07expires"
        b"\x12\x1b\n\tquota_max\x18\x06 \x01(\x03R\x08quotaMax"
        b"\x12!\n\x0cquota_renews\x18\x07 \x01(\x03R\x0bquotaRenews"
        b"\x12'\n\x0fquota_remaining\x18\x08 \x01(\x03R\x0equotaRemaining"
        b"\x12,\n\x12quota_renewal_rate\x18\t \x01(\x03R\x10quotaRenewalRate"
        b"\x12N\n\raccess_rights\x18\n \x03(\x0b2).coprocess.SessionState.AccessRightsEntryR\x0caccessRights"
        b"\x12\x15\n\x06org_id\x18\x0b \x01(\tR\x05orgId\x12&\n\x0foauth_client_id\x18\x0c \x01(\tR\roauthClientId"
        b"\x12E\n\noauth_keys\x18\r \x03(\x0b2&.coprocess.SessionState.OauthKeysEntryR\toauthKeys"
        b"\x12@\n\x0fbasic_auth_data\x18\x0e \x01(\x0b2\x18.coprocess.BasicAuthDataR\rbasicAuthData"
        b"\x12-\n\x08jwt_data\x18\x0f \x01(\x0b2\x12.coprocess.JWTDataR\x07jwtData"
        b"\x12!\n\x0chmac_enabled\x18\x10 \x01(\x08R\x0bhmacEnabled"
        b"\x12\x1f\n\x0bhmac_secret\x18\x11 \x01(\tR\nhmacSecret"
        b"\x12\x1f\n\x0bis_inactive\x18\x12 \x01(\x08R\nisInactive"
        b"\x12&\n\x0fapply_policy_id\x18\x13 \x01(\tR\rapplyPolicyId"
        b"\x12!\n\x0cdata_expires\x18\x14 \x01(\x03R\x0bdataExpires"
        b"\x12,\n\x07monitor\x18\x15 \x01(\x0b2\x12.coprocess.MonitorR\x07monitor"
        b"\x12:\n\x19enable_detailed_recording\x18\x16 \x01(\x08R\x17enableDetailedRecording"
        b"\x12A\n\x08metadata\x18\x17 \x03(\x0b2%.coprocess.SessionState.MetadataEntryR\x08metadata"
        b"\x12\x12\n\x04tags\x18\x18 \x03(\tR\x04tags\x12\x14\n\x05alias\x18\x19 \x01(\tR\x05alias"
        b"\x12!\n\x0clast_updated\x18\x1a \x01(\tR\x0blastUpdated"
        b"\x122\n\x15id_extractor_deadline\x18\x1b \x01(\x03R\x13idExtractorDeadline"
        b"\x12)\n\x10session_lifetime\x18\x1c \x01(\x03R\x0fsessionLifetime"
        b"\x12%\n\x0eapply_policies\x18\x1d \x03(\tR\rapplyPolicies"
        b"\x12 \n\x0bcertificate\x18\x1e \x01(\tR\x0bcertificate"
        b"\x12&\n\x0fmax_query_depth\x18\x1f \x01(\x03R\rmaxQueryDepth"
        b"\x12\x15\n\x06key_id\x18  \x01(\tR\x05keyId\x12,\n"
        b"\x12post_expiry_action\x18! \x01(\tR\x10postExpiryAction"
        b'\x127\n\x18post_expiry_grace_period\x18" \x01(\x03R\x15postExpiryGracePeriod\x1a\\\n\x11AccessRightsEntry'
        b"\x12\x10\n\x03key\x18\x01 \x01(\tR\x03key\x121\n\x05value\x18\x02 \x01(\x0b2\x1b.coprocess.AccessDefinition"
        b"R\x05value:\x028\x01\x1a<\n\x0eOauthKeysEntry"
        b"\x12\x10\n\x03key\x18\x01 \x01(\tR\x03key\x12\x14\n\x05value\x18\x02 \x01(\tR\x05value:\x028\x01\x1a;\n\rMe"
        b"tadataEntry\x12\x10\n\x03key\x18\x01 \x01(\tR\x03key"
        b"\x12\x14\n\x05value\x18\x02 \x01(\tR\x05value:\x028\x01b\x06proto3"
    ),
    "coprocess_object.proto": (
        b"\n\x16coprocess_object.proto"
        b"\x12\tcoprocess\x1a\x16coprocess_common.proto\x1a#coprocess_mini_request_object.proto\x1a\x1fcoprocess_resp"
        b'onse_object.proto\x1a\x1dcoprocess_session_state.proto"\xdd\x03\n\x06Object'
        b"\x120\n\thook_type\x18\x01 \x01(\x0e2\x13.coprocess.HookTypeR\x08hookType"
        b"\x12\x1b\n\thook_name\x18\x02 \x01(\tR\x08hookName"
        b"\x126\n\x07request\x18\x03 \x01(\x0b2\x1c.coprocess.MiniRequestObjectR\x07request"
        b"\x121\n\x07session\x18\x04 \x01(\x0b2\x17.coprocess.SessionStateR\x07session"
        b"\x12;\n\x08metadata\x18\x05 \x03(\x0b2\x1f.coprocess.Object.MetadataEntryR\x08metadata"
        b"\x12/\n\x04spec\x18\x06 \x03(\x0b2\x1b.coprocess.Object.SpecEntryR\x04spec"
        b"\x125\n\x08response\x18\x07 \x01(\x0b2\x19.coprocess.ResponseObjectR\x08response\x1a;\n\rMetadataEntry"
        b"\x12\x10\n\x03key\x18\x01 \x01(\tR\x03key\x12\x14\n\x05value\x18\x02 \x01(\tR\x05value:\x028\x01\x1a7\n\tSp"
        b"ecEntry\x12\x10\n\x03key\x18\x01 \x01(\tR\x03key"
        b'\x12\x14\n\x05value\x18\x02 \x01(\tR\x05value:\x028\x01"!\n\x05Event'
        b'\x12\x18\n\x07payload\x18\x01 \x01(\tR\x07payload"\x0c\n\nEventReply2x\n\nDispatcher'
        b"\x120\n\x08Dispatch\x12\x11.coprocess.Object\x1a\x11.coprocess.Object"
        b"\x128\n\rDispatchEvent\x12\x10.coprocess.Event\x1a\x15.coprocess.EventReplyb\x06proto3"
    ),
}
