var addHeader = new TykJS.TykMiddleware.NewMiddleware({});

addHeader.NewProcessRequest(function (request, session, config) {
  request.SetHeaders["X-Added"] = "by the hook";
  return addHeader.ReturnData(request, {});
});
