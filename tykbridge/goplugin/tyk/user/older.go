package user

// What sessions had in gateway 2.9 and 3.0.

// GetPolicyIDs is PolicyIDs.
func (s *SessionState) GetPolicyIDs() []string { return s.PolicyIDs() }

// GetKeyHash is KeyHash.
func (s *SessionState) GetKeyHash() string { return s.KeyHash() }

// GetMetaData gives MetaData.
func (s *SessionState) GetMetaData() map[string]interface{} { return s.MetaData }

// SetMetaData sets MetaData.
func (s *SessionState) SetMetaData(metadata map[string]interface{}) { s.MetaData = metadata }

// GetMetaDataByKey gives one value of MetaData.
func (s *SessionState) GetMetaDataByKey(key string) (interface{}, bool) {
	value, found := s.MetaData[key]
	return value, found
}

// SetMetaDataKey sets one value of MetaData.
func (s *SessionState) SetMetaDataKey(key string, value interface{}) {
	if s.MetaData == nil {
		s.MetaData = map[string]interface{}{}
	}
	s.MetaData[key] = value
}

// RemoveMetaData removes one value of MetaData.
func (s *SessionState) RemoveMetaData(key string) { delete(s.MetaData, key) }

// GetAccessRights gives AccessRights.
func (s *SessionState) GetAccessRights() map[string]AccessDefinition { return s.AccessRights }

// SetAccessRights sets AccessRights.
func (s *SessionState) SetAccessRights(rights map[string]AccessDefinition) { s.AccessRights = rights }

// GetAccessRightByAPIID gives what is granted of one API.
func (s *SessionState) GetAccessRightByAPIID(apiID string) (AccessDefinition, bool) {
	right, found := s.AccessRights[apiID]
	return right, found
}

// SetAccessRight sets what is granted of one API.
func (s *SessionState) SetAccessRight(apiID string, right AccessDefinition) {
	if s.AccessRights == nil {
		s.AccessRights = map[string]AccessDefinition{}
	}
	s.AccessRights[apiID] = right
}
